"""Every schema that a hub ever had is brought to this program's, in one piece (ADR 0031).

`schemas/before-<n>.sql` are the tables as the program of then made them, read out of its database.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlcipher3 import dbapi2

from candor_hub import migrations
from candor_hub.driver import Engine, open_engine, sa, writing
from candor_hub.migrations import HEAD, OLDEST, present_schema
from candor_hub.store import Store
from candor_hub.tables import metadata
from candor_proto.errors import StoreUnusable
from tests.postgres import chosen_url, new_database

KEY = bytes(range(32))
SCHEMAS = Path(__file__).parent / "schemas"
BEFORE = sorted(path.stem for path in SCHEMAS.glob("*.sql"))


def embedded(folder: Path) -> str:
    return f"sqlite:///{folder / 'hub.db'}"


def execute(url: str, *statements: str) -> None:
    engine = open_engine(url, KEY)
    with writing(engine).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    engine = open_engine(url, KEY)
    with engine.begin() as connection:
        found = [tuple(row) for row in connection.exec_driver_sql(query)]
    engine.dispose()
    return found


def upgraded(url: str) -> None:
    Store.open(url, KEY, "demo.example", upgrade=True).close()


def differences(engine: Engine) -> list[object]:
    """Between the tables of the database and those of the program."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))


@pytest.fixture
def old(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The folder of a database of an older schema, with a few rows."""
    folder = tmp_path / "old"
    folder.mkdir()
    with_rows(folder, request.param)
    return folder


def with_rows(folder: Path, schema: str) -> None:
    raw = dbapi2.connect(str(folder / "hub.db"))
    raw.execute(f"PRAGMA key = \"x'{KEY.hex()}'\"")
    raw.executescript((SCHEMAS / f"{schema}.sql").read_text())
    for node in ("alpha", "bravo"):
        raw.execute(
            "INSERT INTO members (node, name, tls_subject, signing_key, disclosure_key, status, joined_at,"
            " answered_from, last_seen_at) VALUES (?, ?, '', ?, x'01', 1, 5, 5, ?)",
            (node, f"{node} agency", node.encode(), 77 if node == "alpha" else None),
        )
        raw.execute("INSERT INTO member_oris (node, ori) VALUES (?, ?)", (node, f"ORI{node}"))
    for number in (1, 2, 3):
        raw.execute(
            "INSERT INTO envelopes (sender, kind, envelope_id, recipient, body_digest, body, signature,"
            " recipients, accepted_at, expires_at)"
            " VALUES ('alpha', 2, ?, 'bravo', x'01', x'02', x'03', 1, 9, ?)",
            (bytes([number]) * 16, 1_000 + number),
        )
    columns = [row[1] for row in raw.execute("PRAGMA table_info(mailbox)")]
    for number in (1, 2, 3):
        values = {"recipient": "bravo", "envelope": number, "sender": "alpha", "expires_at": 1_000 + number}
        given = [name for name in columns if name in values]
        raw.execute(
            f"INSERT INTO mailbox ({', '.join(given)}) VALUES ({', '.join('?' * len(given))})",
            [values[name] for name in given],
        )
    raw.execute("DELETE FROM mailbox WHERE delivery_id = 3")
    raw.commit()
    raw.close()


def test_head_is_the_newest_step() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [HEAD]
    # Compared as texts when a database is newer.
    assert all(len(step.revision) == 4 and step.revision.isdigit() for step in script.walk_revisions())


@pytest.mark.usefixtures("each_database")
def test_a_new_database_has_the_tables_of_the_program(tmp_path: Path) -> None:
    url = chosen_url() or embedded(tmp_path)
    Store.create(url, KEY, "demo.example").close()
    engine = open_engine(url, KEY)
    try:
        assert differences(engine) == []
    finally:
        engine.dispose()


@pytest.mark.parametrize("old", BEFORE, indirect=True)
def test_an_older_schema_becomes_the_present_one_and_keeps_everything(old: Path) -> None:
    url = embedded(old)
    with pytest.raises(StoreUnusable, match=f"needs {HEAD}"):
        Store.open(url, KEY, "demo.example")
    upgraded(url)
    engine = open_engine(url, KEY)
    found = differences(engine)
    engine.dispose()
    # The unique constraint of envelopes names the same columns in another order (`tables`), and a column that
    # was added has a default that nobody uses.
    assert {getattr(each[1], "name", None) for each in found if isinstance(each, tuple)} <= {None}, found
    assert rows(url, "SELECT node, first_seen_at, last_seen_at FROM members ORDER BY node") == [
        ("alpha", 77, 77),
        ("bravo", None, None),
    ]
    assert rows(url, "SELECT delivery_id, sender, expires_at FROM mailbox ORDER BY 1") == [
        (1, "alpha", 1_001),
        (2, "alpha", 1_002),
    ]
    # No delivery id is given twice.
    execute(
        url,
        "INSERT INTO mailbox (recipient, envelope, sender, expires_at) VALUES ('bravo', 3, 'alpha', 9)",
    )
    assert rows(url, "SELECT max(delivery_id) FROM mailbox") == [(4,)]
    # The program of before refuses what is newer than itself by this row.
    assert rows(url, "SELECT value FROM meta WHERE name = 'schema'") == [("5",)]


@pytest.mark.parametrize("old", ["before-4"], indirect=True)
def test_a_copy_is_made_before_an_embedded_database_is_changed(old: Path) -> None:
    upgraded(embedded(old))
    copy = old / f"hub.db.before-{HEAD}"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in old.iterdir() if path.name[0] == ".") == []
    octets = copy.read_bytes()
    assert b"demo.example" not in octets
    assert not octets.startswith(b"SQLite format 3")
    restored = old / "restored"
    restored.mkdir()
    copy.rename(restored / "hub.db")
    engine = open_engine(embedded(restored), KEY)
    with engine.begin() as connection:
        assert present_schema(connection) == "before-4"
    engine.dispose()
    upgraded(embedded(restored))


def test_only_the_newest_copies_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_rows(tmp_path, "before-4")
    for number in range(4):
        (tmp_path / f"hub.db.before-000{number}").write_bytes(b"old")
    monkeypatch.setattr(migrations, "COPIES_KEPT", 2)
    upgraded(embedded(tmp_path))
    kept = sorted(path.name for path in tmp_path.glob("hub.db.before-*"))
    assert kept == ["hub.db.before-0002", "hub.db.before-0003"]


@pytest.mark.usefixtures("each_database")
def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    url = chosen_url() or embedded(tmp_path)
    Store.create(url, KEY, "demo.example").close()
    execute(url, "UPDATE alembic_version SET version_num = '0999'")
    execute(url, "UPDATE meta SET value = '0999' WHERE name = 'oldest_schema'")
    for upgrade in (False, True):
        with pytest.raises(StoreUnusable, match="newer version"):
            Store.open(url, KEY, "demo.example", upgrade=upgrade)
    assert rows(url, "SELECT version_num FROM alembic_version") == [("0999",)]


@pytest.mark.usefixtures("each_database")
def test_a_newer_schema_that_only_adds_is_worked_with_and_left_alone(tmp_path: Path) -> None:
    """The replica that was not replaced yet, and the version that somebody went back to."""
    url = chosen_url() or embedded(tmp_path)
    Store.create(url, KEY, "demo.example").close()
    assert rows(url, "SELECT value FROM meta WHERE name = 'oldest_schema'") == [(OLDEST,)]
    execute(url, "UPDATE alembic_version SET version_num = '0999'")
    for upgrade in (False, True):
        Store.open(url, KEY, "demo.example", upgrade=upgrade).close()
    assert rows(url, "SELECT version_num FROM alembic_version") == [("0999",)]


@pytest.mark.parametrize("old", ["before-4"], indirect=True)
def test_a_newer_count_of_the_program_before_is_refused(old: Path) -> None:
    execute(embedded(old), "UPDATE meta SET value = '9' WHERE name = 'schema'")
    with pytest.raises(StoreUnusable, match="newer version"):
        upgraded(embedded(old))


def failing_step(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A further step that makes a table, changes one, and fails."""
    package = Path(migrations.__file__).parent
    copied = folder / "migrations"
    (copied / "versions").mkdir(parents=True)
    for path in (package / "env.py", *(package / "versions").glob("r*.py")):
        (copied / path.relative_to(package)).write_text(path.read_text())
    (copied / "versions/r0900_failing.py").write_text(
        "from alembic import op\nimport sqlalchemy as sa\n"
        f"revision = '0900'\ndown_revision = '{HEAD}'\n"
        "def upgrade():\n"
        "    op.create_table('half', sa.Column('a', sa.Integer))\n"
        "    with op.batch_alter_table('members') as batch:\n"
        "        batch.add_column(sa.Column('half', sa.Integer))\n"
        "    op.execute(sa.text('SELECT * FROM nowhere'))\n"
    )
    monkeypatch.setattr(migrations, "__file__", str(copied / "__init__.py"))
    monkeypatch.setattr(migrations, "HEAD", "0900")


@pytest.fixture
def begun(tmp_path: Path, each_database: str) -> Iterator[str]:
    """A database of the schema before the failing step."""
    if each_database == "sqlite":
        with_rows(tmp_path, "before-4")
        yield embedded(tmp_path)
    else:
        url = new_database()
        Store.create(url, KEY, "demo.example").close()
        yield url


def test_a_failing_step_leaves_the_old_schema(
    begun: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before it of the same start are undone as well."""
    tables = "SELECT node FROM members"
    before = rows(begun, tables)
    with monkeypatch.context() as patched:
        failing_step(patched, tmp_path)
        with pytest.raises(StoreUnusable):
            upgraded(begun)
    engine = open_engine(begun, KEY)
    with engine.begin() as connection:
        schema = present_schema(connection)
        names = set(sa.inspect(connection).get_table_names())
        columns = {column["name"] for column in sa.inspect(connection).get_columns("members")}
    engine.dispose()
    assert schema == ("before-4" if begun.startswith("sqlite") else HEAD)
    assert "half" not in names | columns
    assert rows(begun, tables) == before
    upgraded(begun)


_KILLED = """
import os, sys
from candor_hub import driver, migrations
from candor_hub.store import Store
left = int(sys.argv[3])
def count(statement, *_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)
from sqlalchemy import event
from sqlalchemy.engine import Engine
event.listen(Engine, "before_cursor_execute", lambda c, k, s, p, x, m: count(s))
Store.open(sys.argv[1], bytes(range(32)), "demo.example", upgrade=True).close()
"""


def test_a_kill_in_the_middle_leaves_the_old_schema_or_the_new_one(tmp_path: Path) -> None:
    """In the middle of the steps."""
    for number, at in enumerate((60,)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with_rows(folder, "before-3")
        done = subprocess.run(
            [sys.executable, "-c", _KILLED, embedded(folder), "", str(at)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
            capture_output=True,
        )
        assert done.returncode == -9, done.stderr
        engine = open_engine(embedded(folder), KEY)
        with engine.begin() as connection:
            assert present_schema(connection) == "before-3"
        engine.dispose()
        upgraded(embedded(folder))
        assert rows(embedded(folder), "SELECT count(*) FROM mailbox") == [(2,)]


def test_foreign_keys_hold_after_a_migration(tmp_path: Path) -> None:
    """They are off meanwhile, for a table that is made anew is dropped on the way."""
    with_rows(tmp_path, "before-4")
    raw = dbapi2.connect(str(tmp_path / "hub.db"))
    raw.execute(f"PRAGMA key = \"x'{KEY.hex()}'\"")
    raw.execute("INSERT INTO member_oris (node, ori) VALUES ('nobody', 'ORI')")
    raw.commit()
    raw.close()
    with pytest.raises(StoreUnusable, match="not there"):
        upgraded(embedded(tmp_path))
