"""A log's files in memory, so that many changed logs can be read quickly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import pytest

from candor_verify import note


class MemorySource:
    """Files by path; counts what was read."""

    live = False
    where = "memory"

    def __init__(self, files: dict[str, bytes]) -> None:
        self.held = files

    @classmethod
    def of(cls, folder: Path) -> MemorySource:
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return cls({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})

    def changed(self, path: str, octets: bytes | None) -> MemorySource:
        """The same log with one file changed, or gone."""
        files = {name: held for name, held in self.held.items() if name != path}
        return MemorySource(files if octets is None else {**files, path: octets})

    def read(self, path: str, limit: int) -> bytes | None:
        octets = self.held.get(path)
        return None if octets is None else octets[: limit + 1]

    def names(self, folder: str) -> list[str]:
        start = folder + "/"
        return sorted({path[len(start) :].partition("/")[0] for path in self.held if path.startswith(start)})

    def files(self) -> Iterator[str]:
        return iter(self.held)


@contextmanager
def remembered_signatures() -> Iterator[None]:
    """Within, each signature is verified once: nothing that is verified depends on anything else."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("verify_ed25519", "verify_ml_dsa"):
            patch.setattr(note, name, lru_cache(maxsize=None)(getattr(note, name)))
        yield
