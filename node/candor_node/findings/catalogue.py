"""Everything that `candor-node doctor` looks at; the table of docs/doctor.md is made of this."""

from __future__ import annotations

from candor_watch.findings import Entry, catalogue

_KEYS, _DATA, _WAY, _EXCHANGE, _LOG, _PEOPLE, _MACHINE = (
    "settings and keys",
    "data and backups",
    "the way to the hub",
    "exchange",
    "the log",
    "work for people",
    "this machine",
)

CATALOGUE = catalogue(
    [
        Entry(
            "settings",
            _KEYS,
            "node.toml and its environment",
            "a setting is wrong or the file is missing (status 2)",
            "the node has not joined",
        ),
        Entry(
            "keys",
            _KEYS,
            "signing, disclosure and database key can be read and used",
            "one is missing, unreadable or of the wrong size",
        ),
        Entry(
            "own_entry",
            _KEYS,
            "what the directory says of this node, against its keys",
            "it is not named, suspended, or named with other keys",
            "no directory is held yet",
        ),
        Entry(
            "certificate",
            _KEYS,
            "this node's certificate, its key and its life",
            "it ended, begins in the future, does not fit its key, or its renewal is overdue",
        ),
        Entry(
            "authority",
            _KEYS,
            "the issuing authority and the root above it",
            "one ended or is about to",
            "less than 30 of 365 parts of its life are left",
        ),
        Entry(
            "permissions",
            _KEYS,
            "owner and mode of keys, data and folders",
            "others may read or write one of them",
        ),
        Entry(
            "socket",
            _KEYS,
            "the socket of the commands",
            "others may open it, or nothing answers there",
            "the node does not run",
        ),
        Entry(
            "sqlite", _DATA, "the version of SQLite in SQLCipher", "it can corrupt a database (before 3.51.3)"
        ),
        Entry(
            "database",
            _DATA,
            "the key fits, the schema is known, every page is whole",
            "it does not open or is damaged",
            "it was too large to be checked in time",
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
            "backup_keys",
            _DATA,
            "backups that still hold keys of what was destroyed here",
            "there are such backups",
        ),
        Entry(
            "dns", _WAY, "the name of the hub", "it has no address", "the answer took longer than two seconds"
        ),
        Entry(
            "proxy",
            _WAY,
            "the proxy on the way, and a tunnel through it",
            "it is not reached, or refuses name, password or address",
        ),
        Entry(
            "tls",
            _WAY,
            "whose certificate is shown at the hub's address",
            "it is not this federation's: who issued it is said",
        ),
        Entry(
            "hub", _WAY, "whether the hub takes this node's calls", "it is not reached, or refuses this node"
        ),
        Entry(
            "clock",
            _WAY,
            "this machine's time against the hub's",
            "they differ by more than five minutes",
            "they differ by more than a minute",
        ),
        Entry(
            "version",
            _WAY,
            "this software's version against the hub's",
            "-",
            "they are more than one release apart, or the hub is older",
        ),
        Entry(
            "index",
            _EXCHANGE,
            "when this node signed its index last",
            "36 hours ago or more, or the hub has never confirmed it",
            "none is published yet",
        ),
        Entry(
            "copies",
            _EXCHANGE,
            "the indexes of the others, and their age",
            "-",
            "one is missing, not held, or older than 36 hours",
        ),
        Entry(
            "sharing",
            _EXCHANGE,
            "whether the database went back and nobody has confirmed it",
            "it did: nothing is published, answered or released",
        ),
        Entry(
            "outbox",
            _EXCHANGE,
            "messages that wait to be sent",
            "one waits for more than an hour",
            "one waits for more than five minutes, or was refused for good",
        ),
        Entry(
            "inbox",
            _EXCHANGE,
            "messages that wait to be judged",
            "one waits for more than an hour",
            "one waits for more than five minutes",
        ),
        Entry(
            "quota", _EXCHANGE, "what the hub lets this node ask yet", "-", "less than a tenth of it is left"
        ),
        Entry(
            "log",
            _LOG,
            "the age of the newest witnessed head, and contradictions",
            "older than an hour, never read, or it contradicts itself",
        ),
        Entry(
            "log_reach",
            _LOG,
            "whether the hub serves the log, and how far it is",
            "it does not, or serves less than was seen",
        ),
        Entry(
            "kept_log",
            _LOG,
            "whether the log is kept as far as it was read, for a successor of the hub",
            "-",
            "a part of it is not",
        ),
        Entry(
            "witness",
            _LOG,
            "when this node's witness signed last",
            "-",
            "not within the last hour while the log went on",
        ),
        Entry(
            "users",
            _PEOPLE,
            "registered users",
            "-",
            "there are none: whoever may use the socket may do everything",
        ),
        Entry("review", _PEOPLE, "weekly reviews of how this node was used", "-", "one is due"),
        Entry("overdue", _PEOPLE, "notices, answers, reviews and recalls that are late", "-", "something is"),
        Entry(
            "recalls",
            _PEOPLE,
            "recalls of records that others released to this agency",
            "-",
            "one has not been read",
        ),
        Entry(
            "late_matches",
            _PEOPLE,
            "candidates that came after their result was shown",
            "-",
            "one has not been acknowledged",
        ),
        Entry("time_sync", _MACHINE, "whether a time service sets the clock", "-", "none does"),
        Entry("memory", _MACHINE, "memory of the machine and of the service", "-", "less than 512 MB"),
        Entry("open_files", _MACHINE, "how many files may be open", "fewer than 256"),
        Entry("core_dumps", _MACHINE, "whether a crash would write keys to the disk", "-", "it would"),
    ]
)
