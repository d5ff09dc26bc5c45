"""The hub's tables (what they may hold: docs/leakage.md).

Rules of this file:
- a member is an agency's node: no table has a column for a person;
- bodies are stored as they came, blinded or sealed, and only until the last recipient has acknowledged;
- times are whole milliseconds since 1970, as everywhere in the protocol;
- an id that a peer may repeat later (a delivery id) is never given twice: `sqlite_autoincrement`, and on
  PostgreSQL a sequence, which never goes back;
- what stands here is what the newest step of `migrations` leaves: a test compares the two.
"""

from __future__ import annotations

from candor_hub.driver import sa

metadata = sa.MetaData()

_Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Compared octet by octet on both: by the rules of a language the order, and with it an index, would change
# with the system's library.
_Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", _Text, primary_key=True),
    sa.Column("value", _Text, nullable=False),
)

members = sa.Table(
    "members",
    metadata,
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
    # Of the first stream: None as long as the member has never attached.
    sa.Column("first_seen_at", sa.BigInteger),
)

member_oris = sa.Table(
    "member_oris",
    metadata,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("ori", _Text, primary_key=True, index=True),
)

invitations = sa.Table(
    "invitations",
    metadata,
    sa.Column("token_digest", sa.LargeBinary, primary_key=True),
    sa.Column("ori", _Text, nullable=False),
    sa.Column("node", _Text),
    sa.Column("name", _Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("used_at", sa.BigInteger),
    # What the token was used for: the same request again gets the same certificate again.
    sa.Column("used_digest", sa.LargeBinary),
    sa.Column("serial", _Text),
)

# Serial numbers have up to 160 bits: lower-case hexadecimal.
certificates = sa.Table(
    "certificates",
    metadata,
    sa.Column("serial", _Text, primary_key=True),
    sa.Column("node", sa.ForeignKey("members.node"), nullable=False, index=True),
    sa.Column("certificate", sa.LargeBinary, nullable=False),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    # Serial of the authority, as above; and when it was seen first in a call.
    sa.Column("issuer", _Text, nullable=False, server_default=""),
    sa.Column("used_at", sa.BigInteger),
    sa.Index("certificates_by_end", "expires_at"),
)

# Which request a certificate answered, for a reply may be lost, and which certificate the caller showed.
renewals = sa.Table(
    "renewals",
    metadata,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("request_digest", sa.LargeBinary, primary_key=True),
    sa.Column("serial", sa.ForeignKey("certificates.serial"), nullable=False, unique=True),
    sa.Column("renewed_with", _Text, nullable=False),
)

# `node` is empty for an authority's serial.
denied = sa.Table(
    "denied",
    metadata,
    sa.Column("serial", _Text, primary_key=True),
    sa.Column("node", _Text, nullable=False),
    sa.Column("denied_at", sa.BigInteger, nullable=False),
)

# `body` and `chain` of old versions are emptied; the digest stays.
directories = sa.Table(
    "directories",
    metadata,
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("chain", sa.LargeBinary, nullable=False),
)

heads = sa.Table(
    "heads",
    metadata,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
)

# The octets are in files; `released_at` is when the last head stopped naming it, None while one does.
segments = sa.Table(
    "segments",
    metadata,
    sa.Column("address", sa.LargeBinary, primary_key=True),
    sa.Column("node", sa.ForeignKey("members.node"), nullable=False, index=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("octets", sa.BigInteger, nullable=False),
    sa.Column("stored_at", sa.BigInteger, nullable=False),
    sa.Column("released_at", sa.BigInteger, index=True),
    # What its octets are called in their place (`segment_files`); empty for the address.
    sa.Column("stored_as", _Text, nullable=False, server_default=""),
)

# One row for each thing that a member handed in; `recipient` is empty for a lookup. Unique by the id first:
# a thousand answers to a lookup stand side by side in the index, where by sender each would be a page of its
# own to encrypt and write. (Databases made before say the same the other way round.)
envelopes = sa.Table(
    "envelopes",
    metadata,
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

lookup_targets = sa.Table(
    "lookup_targets",
    metadata,
    sa.Column("envelope", sa.ForeignKey("envelopes.number", ondelete="CASCADE"), primary_key=True),
    sa.Column("node", _Text, primary_key=True),
)

mailbox = sa.Table(
    "mailbox",
    metadata,
    sa.Column("delivery_id", _Number, primary_key=True),
    sa.Column("recipient", _Text, nullable=False),
    sa.Column("envelope", sa.ForeignKey("envelopes.number", ondelete="CASCADE"), nullable=False, index=True),
    # As on the envelope, so that counting and taking turns need no look at it.
    sa.Column("sender", _Text, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Index("mailbox_by_recipient", "recipient", "sender", "delivery_id"),
    sqlite_autoincrement=True,
)

quota_uses = sa.Table(
    "quota_uses",
    metadata,
    sa.Column("node", _Text, primary_key=True),
    sa.Column("hour", sa.BigInteger, primary_key=True),
    sa.Column("weak", sa.Integer, nullable=False),
    sa.Column("match", sa.Integer, nullable=False),
    sa.Column("code", sa.Integer, nullable=False),
)

# Targets that a lookup names and that it did not go to, because their mailbox was full.
lookup_unreached = sa.Table(
    "lookup_unreached",
    metadata,
    sa.Column("envelope", sa.ForeignKey("envelopes.number", ondelete="CASCADE"), primary_key=True),
    sa.Column("node", _Text, primary_key=True),
)

# --- the transparency log (docs/protocol.md §14); its entries and hashes are files (`tlog.files`) -----------

# What is to be appended, in order; `opening` rows are the first ones of a shard. Of kinds 10 and 11 a row is
# one commitment, otherwise an entry.
log_waiting = sa.Table(
    "log_waiting",
    metadata,
    sa.Column("number", _Number, primary_key=True),
    sa.Column("opening", sa.Integer, nullable=False),
    sa.Column("kind", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("entry", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)

# `signed` is the newest checkpoint signed, of `size` and `compact_range`, `witnessed` the newest one with a
# quorum: both are empty at first. `closed` says that the last entry says so.
log_shards = sa.Table(
    "log_shards",
    metadata,
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

# Where the directory versions stand.
log_directories = sa.Table(
    "log_directories",
    metadata,
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at_index", sa.BigInteger, nullable=False),
)

# Where the policies stand (nowhere while they wait), and the checkpoint that put them in force: None before,
# empty for the first one.
log_policies = sa.Table(
    "log_policies",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("made_at", sa.BigInteger, nullable=False),
    sa.Column("text", sa.LargeBinary, nullable=False),
    sa.Column("shard", sa.Integer),
    sa.Column("at_index", sa.BigInteger),
    sa.Column("checkpoint", sa.LargeBinary),
)

# The first witnessed checkpoint of each month, such as 2026-11.
log_draws = sa.Table(
    "log_draws",
    metadata,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("month", _Text, primary_key=True),
    sa.Column("checkpoint", sa.LargeBinary, nullable=False),
)

# What was logged of each member last, or waits to be: leaf hashes, and which head the second one is about.
log_members = sa.Table(
    "log_members",
    metadata,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("member_hash", sa.LargeBinary, nullable=False),
    sa.Column("head_statement", sa.LargeBinary),
    sa.Column("head_hash", sa.LargeBinary),
)

log_denied = sa.Table(
    "log_denied",
    metadata,
    sa.Column("serial", sa.ForeignKey("denied.serial"), primary_key=True),
)

# The witness keys of members, with the statement that says so.
log_witnesses = sa.Table(
    "log_witnesses",
    metadata,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("ed25519_key", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("ml_dsa_key", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
)

# Every witness key that was ever handed in, by SHA-256: another member cannot take one over.
log_witness_keys = sa.Table(
    "log_witness_keys",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("node", sa.ForeignKey("members.node"), nullable=False),
)

# What the entries of the present shard add up to (candor_proto.tlog.state): rows by kind and name, and of the
# `requests` entries how many commitments there are up to and with each.
log_state = sa.Table(
    "log_state",
    metadata,
    sa.Column("kind", _Text, primary_key=True),
    sa.Column("name", _Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)

log_state_requests = sa.Table(
    "log_state_requests",
    metadata,
    sa.Column("at_index", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("total", sa.BigInteger, nullable=False),
)

# Witnesses that the operator adds to the policy, in their order.
log_outside = sa.Table(
    "log_outside",
    metadata,
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", _Text, nullable=False, unique=True),
    sa.Column("vkey", _Text, nullable=False),
    sa.Column("url", _Text, nullable=False),
)

# The last heartbeat of each member in a shard.
log_heartbeats = sa.Table(
    "log_heartbeats",
    metadata,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

# Which lookup a commitment is about: a heartbeat must not leave out one that lives.
log_requests = sa.Table(
    "log_requests",
    metadata,
    sa.Column("commitment", sa.LargeBinary, primary_key=True),
    sa.Column("envelope", sa.ForeignKey("envelopes.number", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
)

# --- what several replicas share (docs/replicas.md); an embedded database has the tables, and uses some ----

# Octets by place and name, in pieces of at most 1 MiB; `pieces` is how many there are. Of the place `log` a
# name is a path of the log, of `segments` an address in hexadecimal.
objects = sa.Table(
    "objects",
    metadata,
    sa.Column("place", _Text, primary_key=True),
    sa.Column("name", _Text, primary_key=True),
    sa.Column("piece", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("pieces", sa.Integer, nullable=False),
    sa.Column("octets", sa.LargeBinary, nullable=False),
)

# The hub's keys, sealed under a key that is not in the database (`vault`).
secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", _Text, primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("stored_at", sa.BigInteger, nullable=False),
)

# The issuing authorities that certified members, by serial; the newest one adopted is in use, and the others
# stay so that their chains can be given again.
authorities = sa.Table(
    "authorities",
    metadata,
    sa.Column("serial", _Text, primary_key=True),
    sa.Column("certificate", sa.LargeBinary, nullable=False),
    sa.Column("adopted_at", sa.BigInteger, nullable=False),
)

# Members that may come back with a certificate that has ended.
readmissions = sa.Table(
    "readmissions",
    metadata,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("until", sa.BigInteger, nullable=False),
    sa.Column("made_at", sa.BigInteger, nullable=False),
)

# Each process that runs, and when it wrote last.
replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("replica", _Text, primary_key=True),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("seen_at", sa.BigInteger, nullable=False),
    sa.Column("version", _Text, nullable=False),
)

# Which replica holds the stream of a node; empty when none does. `generation` never goes back: a newer stream
# ends the older one.
attachments = sa.Table(
    "attachments",
    metadata,
    sa.Column("node", sa.ForeignKey("members.node"), primary_key=True),
    sa.Column("replica", _Text, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
)

# The one row of who appends to the log: taking over adds one to `term`.
log_fence = sa.Table(
    "log_fence",
    metadata,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("term", sa.BigInteger, nullable=False),
)

# The one row of the head that is being witnessed, as the sequencer signed it.
log_round = sa.Table(
    "log_round",
    metadata,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("signed", sa.LargeBinary, nullable=False),
)

# What witnesses have signed of it, whichever replica asked them.
log_cosignatures = sa.Table(
    "log_cosignatures",
    metadata,
    sa.Column("round", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("witness", _Text, primary_key=True),
    sa.Column("lines", sa.LargeBinary, nullable=False),
)

# Attempts to enrol, by address, so that the limit is one over all replicas.
enrolment_attempts = sa.Table(
    "enrolment_attempts",
    metadata,
    sa.Column("number", _Number, primary_key=True),
    sa.Column("address", _Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sqlite_autoincrement=True,
)
