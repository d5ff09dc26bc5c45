"""`candor-hub doctor` when something is wrong for real: the fault is named, and what to do about it."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from candor_certs.authority import certificates_pem
from candor_certs.requests import new_tls_key
from candor_certs.store import key_pem, read_identity
from candor_hub.findings.catalogue import CATALOGUE
from candor_hub.founding import Wishes, found
from candor_hub.health import examine
from candor_proto.ids import FederationName
from candor_watch.findings import Finding, Report, State
from tests.certificates import FlawedCertificates, federation_authority
from tests.hub_members import FEDERATION
from tests.postgres import free_port, new_database, shared_server, unsafe


def made(folder: Path, database_url: str = "") -> Path:
    """The settings of a new hub on ports that nobody has."""
    one, two, three = (f"127.0.0.1:{free_port()}" for _ in range(3))
    wishes = Wishes(FEDERATION, one, two, log_address=three, nodes=20, database_url=database_url)
    found(folder, wishes, datetime.now(UTC))
    file = folder / "hub.toml"
    file.write_text(f'metrics_address = "127.0.0.1:{free_port()}"\n' + file.read_text())
    return file


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("template") / "hub").parent


@pytest.fixture
def settings(template: Path, tmp_path: Path) -> Path:
    """A hub that is well, and does not run."""
    shutil.copytree(template, tmp_path / "hub")
    return tmp_path / "hub/hub.toml"


def doctor(settings: Path, ahead: timedelta = timedelta(0)) -> Report:
    return asyncio.run(examine(settings, datetime.now(UTC) + ahead))


def set_to(settings: Path, **values: str) -> None:
    text = settings.read_text()
    for name, value in values.items():
        text = re.sub(rf"(?m)^{name} *=.*$", "", text)
        text = f'{name} = "{value}"\n' + text
    settings.write_text(text)


def bad_ones(report: Report) -> set[str]:
    return {finding.key for finding in report.findings if finding.state is State.BAD}


def test_of_a_hub_that_is_well_nothing_is_bad(settings: Path) -> None:
    report = doctor(settings)
    assert bad_ones(report) == set()
    assert report.exit_status() == 0
    assert [finding.key for finding in report.findings] == list(CATALOGUE)
    for finding in report.findings:
        assert bool(finding.remedy) == (finding.state is not State.GOOD) or finding.state is State.UNKNOWN


# --- one thing at a time --------------------------------------------------------------------------------


def no_such_name(settings: Path) -> None:
    set_to(settings, public_address="hub.county.invalid:7443")


def the_database_is_another(settings: Path) -> None:
    (settings.parent / "keys/database.key").write_bytes(bytes(32))


def the_key_is_gone(settings: Path) -> None:
    (settings.parent / "keys/database.key").unlink()


def the_key_is_short(settings: Path) -> None:
    (settings.parent / "keys/database.key").write_bytes(bytes(16))


def the_directory_key_is_gone(settings: Path) -> None:
    (settings.parent / "keys/directory.key").unlink()


def a_page_is_damaged(settings: Path) -> None:
    file = settings.parent / "hub.db"
    octets = bytearray(file.read_bytes())
    at = len(octets) // 2
    octets[at : at + 64] = bytes(64)
    file.write_bytes(octets)


def the_database_is_gone(settings: Path) -> None:
    (settings.parent / "hub.db").unlink()


def everybody_may_read_a_key(settings: Path) -> None:
    (settings.parent / "keys/log-1.key").chmod(0o644)


def everybody_may_write_the_folder(settings: Path) -> None:
    settings.parent.chmod(0o777)


def the_tls_key_is_another(settings: Path) -> None:
    file = settings.parent / "keys/hub.pem"
    file.write_bytes(key_pem(new_tls_key()) + certificates_pem(read_identity(file).chain))


def a_file_of_the_log_is_gone(settings: Path) -> None:
    (settings.parent / "keys/log-1.key").unlink()


FAULTS: tuple[tuple[Callable[[Path], None], str, str, str], ...] = (
    (no_such_name, "dns", "hub.county.invalid has no address", "name servers"),
    (the_database_is_another, "database", "key does not fit", "key"),
    (the_key_is_gone, "database", "database.key", ""),
    (the_key_is_short, "database", "must be 32 octets, not 16", "key file"),
    (the_directory_key_is_gone, "keys", "directory.key", "backup"),
    (a_page_is_damaged, "database", "damaged", "restore the last backup"),
    (the_database_is_gone, "database", "There is no database at", ""),
    (everybody_may_read_a_key, "permissions", "may be read by others (0644)", "chmod 600"),
    (everybody_may_write_the_folder, "permissions", "may be written by others (0777)", "chmod 700"),
    (the_tls_key_is_another, "keys", "hub.pem", ""),
    (a_file_of_the_log_is_gone, "log_keys", "log-1.key", ""),
)


@pytest.mark.parametrize(
    ("break_it", "key", "said", "remedy"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS]
)
def test_a_fault_is_named_and_says_what_to_do(
    settings: Path, break_it: Callable[[Path], None], key: str, said: str, remedy: str
) -> None:
    break_it(settings)
    report = doctor(settings)
    finding = report.of(key)
    assert (finding.state, said in finding.detail) == (State.BAD, True), finding
    assert finding.remedy
    assert remedy in finding.remedy
    assert report.exit_status() == 1
    # It stands for itself: what cannot be looked at for its sake is not called bad as well.
    others = {each.detail for each in report.findings if each.key != key and each.state is State.BAD}
    assert finding.detail not in others


def test_three_faults_at_once_are_three_findings(settings: Path) -> None:
    """Beside each other on the way in: the name, the key's permissions, and a page of the database."""
    for break_it in (no_such_name, everybody_may_read_a_key, a_page_is_damaged):
        break_it(settings)
    report = doctor(settings)
    assert {"dns", "permissions", "database"} <= bad_ones(report)
    assert len({report.of(key).remedy for key in ("dns", "permissions", "database")}) == 3


def test_what_cannot_be_read_for_the_databases_sake_is_unknown(settings: Path) -> None:
    the_database_is_another(settings)
    report = doctor(settings)
    for key in ("members", "indexes", "mailbox", "quotas", "log", "witnesses"):
        assert (report.of(key).state, "see `database`" in report.of(key).detail) == (State.UNKNOWN, True)


def test_settings_that_cannot_be_read_are_status_two(settings: Path) -> None:
    settings.write_text("adress = 1\n" + settings.read_text())
    report = doctor(settings)
    assert report.exit_status() == 2
    assert "there is no such setting" in report.of("settings").detail


def test_a_bucket_of_segments_that_cannot_be_used(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real bucket is the campaign's (tests/campaign/bucket.py)."""
    assert doctor(settings).of("segments").state is State.GOOD
    for name, value in (
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "sentinel"),
    ):
        monkeypatch.setenv(name, value)
    set_to(settings, segments_url="s3://bucket/prefix")
    report = doctor(settings)
    assert bad_ones(report) == {"segments"}
    found = report.of("segments")
    assert "Nobody can publish or fetch an index" in found.detail
    assert "AWS_ALLOW_HTTP" in found.remedy
    assert "sentinel" not in str(report.as_json())


@pytest.mark.parametrize("hours", [-3, 3], ids=["back", "ahead"])
def test_a_clock_that_is_hours_off(settings: Path, hours: int) -> None:
    """Set back, what was signed is in the future. Ahead, an embedded hub has nothing to compare it with."""
    report = doctor(settings, timedelta(hours=hours))
    assert (report.of("clock").state is State.BAD) == (hours < 0)
    if hours < 0:
        assert "has not come" in report.of("clock").detail
        assert "Begins on" in report.of("hub_certificate").detail


# --- what answers there ---------------------------------------------------------------------------------


@contextmanager
def answering(identity: Path | None) -> Iterator[str]:
    """Somebody else's server at an address of this machine; without TLS if it has no identity."""
    context = None
    if identity is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity)
        context.set_alpn_protocols(["h2"])
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    link, _ = listening.accept()
                except OSError:
                    return
                try:
                    with closing(context.wrap_socket(link, server_side=True) if context else link) as open_:
                        open_.sendall(b"220 no TLS here\r\n")
                        open_.recv(64)
                except OSError:
                    continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_proxy_that_looks_into_tls_is_called_by_its_name(settings: Path, tmp_path: Path) -> None:
    web_filter = FlawedCertificates(federation_authority(federation=FederationName("filter.county.example")))
    shown, file = web_filter.good_hub(), tmp_path / "filter.pem"
    file.write_bytes(shown.key_pem + shown.chain_pem)
    with answering(file) as address:
        set_to(settings, public_address=address)
        finding = doctor(settings).of("tls")
    assert finding.state is State.BAD
    assert "filter.county.example" in finding.detail
    assert "pass untouched" in finding.remedy


def test_what_speaks_no_tls_is_said(settings: Path) -> None:
    with answering(None) as address:
        set_to(settings, public_address=address)
        finding = doctor(settings).of("tls")
    assert (finding.state, "does not speak TLS" in finding.detail) == (State.BAD, True)


# --- PostgreSQL -----------------------------------------------------------------------------------------


@pytest.fixture
def on_server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """The settings of a hub on PostgreSQL, and its URL."""
    with unsafe():
        url = new_database()
        yield made(tmp_path / "hub", database_url=url), url


def of(report: Report, key: str, state: State, said: str) -> Finding:
    finding = report.of(key)
    assert (finding.state, said in finding.detail) == (state, True), finding
    assert finding.remedy
    return finding


def test_a_server_that_is_down(on_server: tuple[Path, str]) -> None:
    settings, url = on_server
    set_to(settings, database_url=url.replace(url.split(":")[2].split("/")[0], "1"))
    report = doctor(settings)
    of(report, "database", State.BAD, "cannot be reached")
    assert report.of("members").state is State.UNKNOWN
    assert report.exit_status() == 1


def test_a_server_without_the_standby_that_it_waits_for(on_server: tuple[Path, str]) -> None:
    settings, _ = on_server
    server = shared_server()
    of(doctor(settings), "replication", State.WARNING, "No synchronous standby is wanted")
    server.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    server.execute("SELECT pg_reload_conf()")
    try:
        finding = of(doctor(settings), "replication", State.BAD, "none is connected: nothing is accepted")
        assert "Start the standby" in finding.remedy
    finally:
        server.execute("ALTER SYSTEM RESET synchronous_standby_names")
        server.execute("SELECT pg_reload_conf()")


def test_a_server_without_a_connection_left_or_with_another_password(on_server: tuple[Path, str]) -> None:
    settings, url = on_server
    server, database = shared_server(), url.rpartition("/")[2]
    server.execute("CREATE ROLE narrow LOGIN CONNECTION LIMIT 1")
    server.execute(f"ALTER DATABASE {database} OWNER TO narrow")
    narrow = url.replace("postgres@", "narrow@")
    set_to(settings, database_url=narrow)
    try:
        with psycopg.connect(narrow):
            finding = of(doctor(settings), "database", State.BAD, "too many connections")
            assert "max_connections" in finding.remedy
    finally:
        server.execute(f"ALTER DATABASE {database} OWNER TO postgres")
        server.execute("DROP ROLE narrow")


def test_a_clock_that_is_not_the_databases(on_server: tuple[Path, str]) -> None:
    settings, _ = on_server
    for hours, word in ((3, "ahead of the database's"), (-3, "behind the database's")):
        finding = of(doctor(settings, timedelta(hours=hours)), "clock", State.BAD, word)
        assert "timedatectl" in finding.remedy


def test_backups_of_a_server_are_not_said_to_be_a_folders(on_server: tuple[Path, str]) -> None:
    settings, _ = on_server
    assert "backup_folder" not in of(doctor(settings), "backups", State.UNKNOWN, "cannot be seen").remedy
