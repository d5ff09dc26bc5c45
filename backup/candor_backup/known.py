"""What the last backup in a folder held: a tag for each page, kept beside the database it is of.

By it the next backup knows what has changed. It holds no content and no key. Without it, or when it is not of
the folder's last file, the next backup is a whole one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from candor_backup.pages import TAG_OCTETS
from candor_proto.canonical import from_milliseconds, to_milliseconds

_MAGIC = b"candor-known/1\n\0"
_DIGEST_OCTETS = 32


@dataclass(frozen=True)
class Known:
    """`tags` are those of the database, `blanked` those of the same pages without their secrets, by number.

    `previous` names the last file of changes, whose number is `number`; `based_at` is when the generation
    began, `base_octets` and `change_octets` how large its base and all its changes are.
    """

    generation: bytes
    number: int
    previous: bytes
    base_name: str
    base: bytes
    based_at: datetime
    base_octets: int
    change_octets: int
    tags: bytes = field(repr=False)
    blanked: dict[int, bytes] = field(repr=False)

    def encode(self) -> bytes:
        head = json.dumps(
            {
                "generation": self.generation.hex(),
                "number": self.number,
                "previous": self.previous.hex(),
                "base_name": self.base_name,
                "base": self.base.hex(),
                "based_at": to_milliseconds(self.based_at),
                "base_octets": self.base_octets,
                "change_octets": self.change_octets,
                "tags": len(self.tags),
            },
            sort_keys=True,
        ).encode()
        blanked = b"".join(number.to_bytes(4, "big") + tag for number, tag in sorted(self.blanked.items()))
        body = _MAGIC + len(head).to_bytes(4, "big") + head + self.tags + blanked
        return body + sha256(body).digest()

    @classmethod
    def read(cls, path: Path) -> Known | None:
        """None when there is none, or a power cut left half of one."""
        try:
            octets = path.read_bytes()
        except OSError:
            return None
        body, digest = octets[:-_DIGEST_OCTETS], octets[-_DIGEST_OCTETS:]
        if not body.startswith(_MAGIC) or sha256(body).digest() != digest:
            return None
        at = len(_MAGIC) + 4
        length = int.from_bytes(body[len(_MAGIC) : at], "big")
        head = json.loads(body[at : at + length])
        start = at + length
        end = start + head["tags"]
        entry = 4 + TAG_OCTETS
        return cls(
            bytes.fromhex(head["generation"]),
            head["number"],
            bytes.fromhex(head["previous"]),
            head["base_name"],
            bytes.fromhex(head["base"]),
            from_milliseconds(head["based_at"]),
            head["base_octets"],
            head["change_octets"],
            body[start:end],
            {
                int.from_bytes(body[place : place + 4], "big"): body[place + 4 : place + entry]
                for place in range(end, len(body), entry)
            },
        )
