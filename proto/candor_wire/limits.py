"""Every limit that a peer could run into, with its unit (docs/protocol.md §13).

Limits on canonical encodings stand with their parsers in `candor_proto`; these are the wire's.
"""

from __future__ import annotations

PROTOCOL_VERSION = 1

MAX_MESSAGE_BYTES = 1 << 20
CHUNK_BYTES = 256 * 1024
# What a node sends to the hub at once: a hub lets a stream bring more as messages come through it.
UPLOAD_CHUNK_BYTES = 64 * 1024
MAX_DIRECTORY_BYTES = 64 * 1024 * 1024
MAX_CERTIFICATE_BYTES = 16 * 1024
MAX_CHAIN_LENGTH = 4
MAX_ACKNOWLEDGED_IDS = 1_000
MAX_MAILBOX_ROWS_PER_RECIPIENT = 10_000
# Sent and not yet acknowledged, by stream: so many deliveries, of so many octets (or one larger).
MAX_DELIVERIES_IN_FLIGHT = 256
MAX_OCTETS_IN_FLIGHT = 4 << 20
# Handed in on a stream and not yet answered by a receipt.
MAX_UNANSWERED_SUBMISSIONS = 64
# A frame with mail is closed when it has this many octets: with what it is carried in it stays below 1 MiB.
FRAME_OCTETS = 512 * 1024
# Requests to witnesses: an old size, at most 63 hashes, a checkpoint of at most 512 KiB. In responses are
# signature lines.
MAX_COSIGN_BYTES = 520 * 1024
MAX_COSIGNED_BYTES = 64 * 1024
WITNESS_STATUSES = frozenset((200, 400, 403, 404, 409, 422))
MAX_LOG_PATH_BYTES = 128
# A bundle: 256 entries of at most 65,535 octets, each behind two octets of length.
MAX_LOG_FILE_BYTES = 256 * (2 + 65_535)
# With its context and signature it has room in one entry of the log.
MAX_LOGGED_STATEMENT_BYTES = 65_000

CALL_DEADLINE_SECONDS = 30.0
TRANSFER_DEADLINE_SECONDS = 300.0
# To a node that does not say how long it lets a stream be silent; the first release lets it for 60 s.
HEARTBEAT_SECONDS = 30.0
# To one that says so (§8.3). Whether the line is alive is asked by HTTP/2's pings, of nodes alone.
RARE_HEARTBEAT_SECONDS = 120.0
# After which a node counts a stream as dead, whatever pings say: nothing of the hub's was heard.
SILENCE_SECONDS = 300.0
REDELIVERY_SECONDS = 30.0
ATTACH_HELLO_DEADLINE_SECONDS = 10.0
INDEX_REFRESH_SECONDS = 15 * 60.0
CLOCK_TOLERANCE_SECONDS = 300.0
