"""Everything that `candor-hub doctor` looks at; the table of docs/doctor.md is made of this."""

from __future__ import annotations

from candor_watch.findings import Entry, catalogue

_KEYS, _DATA, _REACH, _LOG, _MEMBERS, _MACHINE = (
    "settings and keys",
    "data and backups",
    "how it is reached",
    "the log",
    "members",
    "this machine",
)

CATALOGUE = catalogue(
    [
        Entry(
            "settings",
            _KEYS,
            "hub.toml and its environment",
            "a setting is wrong or the file is missing (status 2)",
        ),
        Entry(
            "keys",
            _KEYS,
            "database key, directory key, TLS key, issuing authority",
            "one is missing, may be read by others, or does not fit its certificate",
        ),
        Entry(
            "hub_certificate",
            _KEYS,
            "the certificate that members see",
            "it ended, begins in the future, or its renewal is overdue",
        ),
        Entry(
            "directory_certificate", _KEYS, "the certificate of the key that signs the directory", "as above"
        ),
        Entry(
            "issuing_authority",
            _KEYS,
            "the authority that certifies members",
            "it ended or is about to",
            "less than 30 of 365 parts of its life are left",
        ),
        Entry(
            "replaced_authorities",
            _KEYS,
            "who still goes by a certificate of an authority that was replaced",
            "-",
            "somebody does, a day after",
        ),
        Entry(
            "root",
            _KEYS,
            "the root above it",
            "it ended or is about to",
            "less than 30 of 365 parts of its life are left",
        ),
        Entry(
            "permissions",
            _KEYS,
            "owner and mode of keys, data and folders",
            "others may read or write one of them",
        ),
        Entry(
            "sqlite", _DATA, "the version of SQLite in SQLCipher", "it can corrupt a database (before 3.51.3)"
        ),
        Entry(
            "database",
            _DATA,
            "key, federation, schema, every page; a server is the primary, and durable",
            "it does not",
            "it was too large to be checked in time; the way to a server is not encrypted and checked",
        ),
        Entry(
            "replication",
            _DATA,
            "primary and synchronous standbys of PostgreSQL servers",
            "one is wanted and none is in sync: nothing is accepted; two say that they are the primary",
            "none is wanted: what was accepted last is lost with the primary; a named server is silent",
        ),
        Entry(
            "segments",
            _DATA,
            "a small object, put, read, listed and dropped in the bucket of segments",
            "it cannot be: nobody can publish or fetch an index",
        ),
        Entry(
            "disk_space",
            _DATA,
            "free space and files of the disks, against their growth",
            "nearly full, full within 7 days, or read-only",
            "under 1 GB or a tenth, or full within 45 days",
        ),
        Entry(
            "disk_write",
            _DATA,
            "a small file, written through to the disk",
            "it cannot be written",
            "it took longer than a second",
        ),
        Entry(
            "backups",
            _DATA,
            "the newest verified backup",
            "older than three intervals, never made, or the last attempt or restore drill failed",
            "none is scheduled, or the last restore drill is older than 35 days",
        ),
        Entry(
            "service",
            _REACH,
            "whether a hub runs here, and says that it is ready",
            "it says that it is not, and why",
            "none runs here",
        ),
        Entry(
            "dns",
            _REACH,
            "the name that members dial",
            "it has no address",
            "the answer took longer than two seconds",
        ),
        Entry(
            "tls",
            _REACH,
            "whose certificate is shown at that address",
            "it is not this hub's: who issued it is said",
        ),
        Entry(
            "clock",
            _REACH,
            "this machine's time against what was signed here, and the database server's",
            "something signed carries a time that has not come, or they differ by more than five minutes",
        ),
        Entry(
            "log",
            _LOG,
            "what waits, when it was signed, when witnessed",
            "something waits for over a minute, the log is older than its limits, or its database went back",
        ),
        Entry("log_files", _LOG, "the files of the log against the database", "they are not of one history"),
        Entry("log_keys", _LOG, "the keys of every shard that goes on", "one is missing or another one"),
        Entry(
            "log_reach",
            _LOG,
            "whether the log can be read over HTTPS",
            "it cannot, or shows less than the database has",
        ),
        Entry(
            "witnesses",
            _LOG,
            "who has signed the head that waits",
            "-",
            "fewer than its quorum, for more than ten minutes; or one claims to know more",
        ),
        Entry(
            "members",
            _MEMBERS,
            "who is attached, and who was seen when",
            "-",
            "a member was not seen for a day, or never",
        ),
        Entry(
            "indexes",
            _MEMBERS,
            "the age of the members' indexes",
            "-",
            "one is missing or older than 36 hours: lookups pass it over",
        ),
        Entry(
            "mailbox", _MEMBERS, "what waits to be delivered", "a mailbox is full", "a mailbox is half full"
        ),
        Entry(
            "quotas",
            _MEMBERS,
            "what members used of their 30 days",
            "-",
            "a member has less than a tenth left",
        ),
        Entry(
            "versions",
            _MEMBERS,
            "the software of the nodes that are attached",
            "-",
            "one is more than one release away",
        ),
        Entry("time_sync", _MACHINE, "whether a time service sets the clock", "-", "none does"),
        Entry(
            "memory",
            _MACHINE,
            "memory of the machine and of the service",
            "-",
            "less than 256 MB and 150 kB for each member to expect",
        ),
        Entry(
            "open_files",
            _MACHINE,
            "how many files and connections may be open",
            "fewer than twice the members to expect, and 256",
        ),
        Entry("core_dumps", _MACHINE, "whether a crash would write keys to the disk", "-", "it would"),
    ]
)
