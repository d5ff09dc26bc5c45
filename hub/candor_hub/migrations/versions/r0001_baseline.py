"""The tables as they were when Alembic took over.

A database of the program before, which counted its steps in `meta`, is taken over: its missing steps are made
up for, and what it has not got is added. It keeps its place in everything: no delivery id is given twice.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# As they were then, and not as `candor_hub.tables` has them today: a step never changes.
_then = sa.MetaData()
_Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

sa.Table(
    "meta",
    _then,
    sa.Column("name", _Text, primary_key=True),
    sa.Column("value", _Text, nullable=False),
)

sa.Table(
    "members",
    _then,
    sa.Column("node", _Text, primary_key=True),
    sa.Column("name", _Text, nullable=False),
    sa.Column("tls_subject", _Text, nullable=False),
    sa.Column("signing_key", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("disclosure_key", sa.LargeBinary, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("joined_at", sa.BigInteger, nullable=False),
    sa.Column("answered_from", sa.BigInteger, nullable=False),
    sa.Column("revoked_at", sa.BigInteger),
    sa.Column("last_seen_at", sa.BigInteger),
    sa.Column("first_seen_at", sa.BigInteger),
)

sa.Table(
    "member_oris",
    _then,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("ori", _Text, primary_key=True, index=True),
)

sa.Table(
    "invitations",
    _then,
    sa.Column("token_digest", sa.LargeBinary, primary_key=True),
    sa.Column("ori", _Text, nullable=False),
    sa.Column("node", _Text),
    sa.Column("name", _Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("used_at", sa.BigInteger),
    sa.Column("used_digest", sa.LargeBinary),
    sa.Column("serial", _Text),
)
sa.Table(
    "certificates",
    _then,
    sa.Column("serial", _Text, primary_key=True),
    sa.Column("node", sa.ForeignKey("members.node"), nullable=False, index=True),
    sa.Column("certificate", sa.LargeBinary, nullable=False),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("issuer", _Text, nullable=False, server_default=""),
    sa.Column("used_at", sa.BigInteger),
)
sa.Table(
    "renewals",
    _then,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("request_digest", sa.LargeBinary, primary_key=True),
    sa.Column("serial", sa.ForeignKey("certificates.serial"), nullable=False, unique=True),
    sa.Column("renewed_with", _Text, nullable=False),
)
sa.Table(
    "denied",
    _then,
    sa.Column("serial", _Text, primary_key=True),
    sa.Column("node", _Text, nullable=False),
    sa.Column("denied_at", sa.BigInteger, nullable=False),
)
sa.Table(
    "directories",
    _then,
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("chain", sa.LargeBinary, nullable=False),
)

sa.Table(
    "heads",
    _then,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
)
sa.Table(
    "segments",
    _then,
    sa.Column("address", sa.LargeBinary, primary_key=True),
    sa.Column("node", sa.ForeignKey("members.node"), nullable=False, index=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("octets", sa.BigInteger, nullable=False),
    sa.Column("stored_at", sa.BigInteger, nullable=False),
    sa.Column("released_at", sa.BigInteger, index=True),
    sa.Column("stored_as", _Text, nullable=False, server_default=""),
)
sa.Table(
    "envelopes",
    _then,
    sa.Column("number", _Number, primary_key=True),
    sa.Column("sender", _Text, nullable=False),
    sa.Column("kind", sa.Integer, nullable=False),
    sa.Column("envelope_id", sa.LargeBinary, nullable=False),
    sa.Column("recipient", _Text, nullable=False),
    sa.Column("body_digest", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("recipients", sa.Integer, nullable=False),
    sa.Column("accepted_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
    sa.UniqueConstraint("envelope_id", "sender", "kind", "recipient"),
    sqlite_autoincrement=True,
)

sa.Table(
    "lookup_targets",
    _then,
    sa.Column("envelope", sa.ForeignKey("envelopes.number", ondelete="CASCADE"), primary_key=True),
    sa.Column("node", _Text, primary_key=True),
)

sa.Table(
    "mailbox",
    _then,
    sa.Column("delivery_id", _Number, primary_key=True),
    sa.Column("recipient", _Text, nullable=False),
    sa.Column("envelope", sa.ForeignKey("envelopes.number", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("sender", _Text, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Index("mailbox_by_recipient", "recipient", "sender", "delivery_id"),
    sqlite_autoincrement=True,
)

sa.Table(
    "quota_uses",
    _then,
    sa.Column("node", _Text, primary_key=True),
    sa.Column("hour", sa.BigInteger, primary_key=True),
    sa.Column("weak", sa.Integer, nullable=False),
    sa.Column("match", sa.Integer, nullable=False),
    sa.Column("code", sa.Integer, nullable=False),
)
sa.Table(
    "lookup_unreached",
    _then,
    sa.Column("envelope", sa.ForeignKey("envelopes.number", ondelete="CASCADE"), primary_key=True),
    sa.Column("node", _Text, primary_key=True),
)
sa.Table(
    "log_waiting",
    _then,
    sa.Column("number", _Number, primary_key=True),
    sa.Column("opening", sa.Integer, nullable=False),
    sa.Column("kind", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("entry", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
sa.Table(
    "log_shards",
    _then,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("origin", _Text, nullable=False, unique=True),
    sa.Column("ed25519_key", sa.LargeBinary, nullable=False),
    sa.Column("ml_dsa_key", sa.LargeBinary, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("compact_range", sa.LargeBinary, nullable=False),
    sa.Column("signed", sa.LargeBinary, nullable=False),
    sa.Column("signed_at", sa.BigInteger, nullable=False),
    sa.Column("witnessed", sa.LargeBinary, nullable=False),
    sa.Column("witnessed_size", sa.BigInteger, nullable=False),
    sa.Column("witnessed_at", sa.BigInteger, nullable=False),
    sa.Column("closed", sa.Integer, nullable=False),
)
sa.Table(
    "log_directories",
    _then,
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at_index", sa.BigInteger, nullable=False),
)
sa.Table(
    "log_policies",
    _then,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("made_at", sa.BigInteger, nullable=False),
    sa.Column("text", sa.LargeBinary, nullable=False),
    sa.Column("shard", sa.Integer),
    sa.Column("at_index", sa.BigInteger),
    sa.Column("checkpoint", sa.LargeBinary),
)
sa.Table(
    "log_draws",
    _then,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("month", _Text, primary_key=True),
    sa.Column("checkpoint", sa.LargeBinary, nullable=False),
)
sa.Table(
    "log_members",
    _then,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("member_hash", sa.LargeBinary, nullable=False),
    sa.Column("head_statement", sa.LargeBinary),
    sa.Column("head_hash", sa.LargeBinary),
)

sa.Table(
    "log_denied",
    _then,
    sa.Column("serial", sa.ForeignKey("denied.serial"), primary_key=True),
)
sa.Table(
    "log_witnesses",
    _then,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("ed25519_key", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("ml_dsa_key", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
)
sa.Table(
    "log_witness_keys",
    _then,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("node", sa.ForeignKey("members.node"), nullable=False),
)
sa.Table(
    "log_state",
    _then,
    sa.Column("kind", _Text, primary_key=True),
    sa.Column("name", _Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)

sa.Table(
    "log_state_requests",
    _then,
    sa.Column("at_index", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("total", sa.BigInteger, nullable=False),
)
sa.Table(
    "log_outside",
    _then,
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", _Text, nullable=False, unique=True),
    sa.Column("vkey", _Text, nullable=False),
    sa.Column("url", _Text, nullable=False),
)
sa.Table(
    "log_heartbeats",
    _then,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
sa.Table(
    "log_requests",
    _then,
    sa.Column("commitment", sa.LargeBinary, primary_key=True),
    sa.Column("envelope", sa.ForeignKey("envelopes.number", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
)
sa.Table(
    "objects",
    _then,
    sa.Column("place", _Text, primary_key=True),
    sa.Column("name", _Text, primary_key=True),
    sa.Column("piece", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("pieces", sa.Integer, nullable=False),
    sa.Column("octets", sa.LargeBinary, nullable=False),
)
sa.Table(
    "secrets",
    _then,
    sa.Column("name", _Text, primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("stored_at", sa.BigInteger, nullable=False),
)
sa.Table(
    "authorities",
    _then,
    sa.Column("serial", _Text, primary_key=True),
    sa.Column("certificate", sa.LargeBinary, nullable=False),
    sa.Column("adopted_at", sa.BigInteger, nullable=False),
)

sa.Table(
    "readmissions",
    _then,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("until", sa.BigInteger, nullable=False),
    sa.Column("made_at", sa.BigInteger, nullable=False),
)

sa.Table(
    "replicas",
    _then,
    sa.Column("replica", _Text, primary_key=True),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("seen_at", sa.BigInteger, nullable=False),
    sa.Column("version", _Text, nullable=False),
)
sa.Table(
    "attachments",
    _then,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("replica", _Text, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
)
sa.Table(
    "log_fence",
    _then,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("term", sa.BigInteger, nullable=False),
)
sa.Table(
    "log_round",
    _then,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("signed", sa.LargeBinary, nullable=False),
)
sa.Table(
    "log_cosignatures",
    _then,
    sa.Column("round", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("witness", _Text, primary_key=True),
    sa.Column("lines", sa.LargeBinary, nullable=False),
)
sa.Table(
    "enrolment_attempts",
    _then,
    sa.Column("number", _Number, primary_key=True),
    sa.Column("address", _Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sqlite_autoincrement=True,
)


def upgrade() -> None:
    connection = op.get_bind()
    columns = {
        table: {column["name"] for column in sa.inspect(connection).get_columns(table)}
        for table in ("mailbox", "members")
        if sa.inspect(connection).has_table(table)
    }
    if columns:
        _take_over(columns)
    _then.create_all(connection, checkfirst=True)
    if connection.dialect.name == "postgresql":
        # Hashes and sealed octets: trying to make them smaller costs time and gains nothing.
        op.execute(sa.text("ALTER TABLE objects ALTER COLUMN octets SET STORAGE EXTERNAL"))
    if columns:
        # The program before looks at this, and refuses what is newer than itself.
        op.execute(sa.text("UPDATE meta SET value = '5' WHERE name = 'schema'"))


def _take_over(columns: dict[str, set[str]]) -> None:
    if "sender" not in columns["mailbox"]:
        # Not by a new table: with the old one SQLite would forget which delivery ids were given.
        op.add_column("mailbox", sa.Column("sender", _Text, nullable=False, server_default=""))
        op.add_column("mailbox", sa.Column("expires_at", sa.BigInteger, nullable=False, server_default="0"))
        op.execute(
            sa.text(
                "UPDATE mailbox SET"
                " sender = (SELECT sender FROM envelopes WHERE number = mailbox.envelope),"
                " expires_at = (SELECT expires_at FROM envelopes WHERE number = mailbox.envelope)"
            )
        )
        op.drop_index("mailbox_by_recipient", "mailbox")
        op.create_index("mailbox_by_recipient", "mailbox", ["recipient", "sender", "delivery_id"])
    # A ledger that named nobody else's statements; the transparency log took its place.
    op.execute(sa.text("DROP TABLE IF EXISTS ledger"))
    op.add_column("segments", sa.Column("stored_as", _Text, nullable=False, server_default=""))
    op.add_column("certificates", sa.Column("issuer", _Text, nullable=False, server_default=""))
    op.add_column("certificates", sa.Column("used_at", sa.BigInteger))
    op.add_column("members", sa.Column("first_seen_at", sa.BigInteger))
    op.execute(sa.text("UPDATE members SET first_seen_at = last_seen_at"))
