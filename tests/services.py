"""What systemd does with our units, as far as it can be had without systemd: user, environment, credentials,
notifications, system calls.

    unit = Unit.read(path)
    with Service(unit, root=folder) as service:
        service.ready(30)
        service.stop()

`systemd-analyze` checks the rest of a unit (tests/unit/deploy/test_units.py); it names the system calls too.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

LAUNCH = Path(__file__).with_name("launch.py")
KILL_SECONDS = 15.0


@dataclass(frozen=True)
class Unit:
    """A unit's settings: section and key to every value, in order; a key without a value empties the list."""

    name: str
    settings: Mapping[tuple[str, str], list[str]]

    @classmethod
    def read(cls, path: Path, places: Mapping[str, str] | None = None) -> Unit:
        """`places`: folders that are elsewhere."""
        found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        section, text = "", path.read_text("utf-8")
        for place, instead in (places or {}).items():
            text = text.replace(place, instead)
        for line in text.splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and line[0] not in "#;":
                key, _, value = line.partition("=")
                found[section, key].append(value)
        return cls(path.name, dict(found))

    def all(self, key: str, section: str = "Service") -> list[str]:
        return self.settings.get((section, key), [])

    def one(self, key: str, section: str = "Service") -> str:
        (value,) = self.all(key, section)
        return value

    @property
    def command(self) -> list[str]:
        return shlex.split(self.one("ExecStart"))


# --- system calls -------------------------------------------------------------------------------------


@functools.cache
def group(name: str) -> frozenset[str]:
    """The system calls of a group such as @system-service, as systemd has it."""
    text = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", name], capture_output=True, text=True, check=True
    ).stdout
    lines = {line.strip() for line in text.splitlines()[1:]}
    calls = {line for line in lines if line and line[0] not in "#@"}
    return frozenset(calls.union(*(group(line) for line in lines if line.startswith("@"))))


def allowed_calls(unit: Unit) -> set[str]:
    """What SystemCallFilter= leaves."""
    allowed: set[str] = set(group("@default"))
    for value in unit.all("SystemCallFilter"):
        words = value.removeprefix("~").split()
        calls = set().union(*(group(word) if word.startswith("@") else {word} for word in words))
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


class _Compare(ctypes.Structure):
    """struct scmp_arg_cmp of seccomp.h."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


_ALLOW, _ERRNO, _EQUAL, _MASKED_EQUAL = 0x7FFF0000, 0x00050000, 4, 7
_WRITE, _EXECUTE = 2, 4
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}


def filter_program(unit: Unit) -> bytes:
    """The BPF program of SystemCallFilter=, MemoryDenyWriteExecute= and RestrictAddressFamilies=."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Compare))
    ]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    context = library.seccomp_init(_ERRNO | errno.EPERM)

    def allow(call: str, *conditions: _Compare) -> None:
        number = library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:  # of another architecture
            return
        array = (_Compare * max(1, len(conditions)))(*conditions)
        if library.seccomp_rule_add_array(context, _ALLOW, number, len(conditions), array):
            raise AssertionError(f"no rule for {call}")

    narrowed: dict[str, list[_Compare]] = {}
    if unit.one("MemoryDenyWriteExecute") == "yes":
        both = _WRITE | _EXECUTE
        narrowed["mmap"] = [_Compare(2, _MASKED_EQUAL, both, part) for part in (0, _WRITE, _EXECUTE)]
        narrowed["mprotect"] = narrowed["pkey_mprotect"] = [_Compare(2, _MASKED_EQUAL, _EXECUTE, 0)]
    families = unit.one("RestrictAddressFamilies").split()
    narrowed["socket"] = [_Compare(0, _EQUAL, _FAMILIES[family], 0) for family in families]
    for call in sorted(allowed_calls(unit)):
        if call in narrowed:
            for condition in narrowed[call]:
                allow(call, condition)
        else:
            allow(call)
    with tempfile.TemporaryFile() as file:
        if library.seccomp_export_bpf(context, file.fileno()):
            raise AssertionError("the filter cannot be made")
        library.seccomp_release(context)
        file.seek(0)
        return file.read()


# --- a running service --------------------------------------------------------------------------------


class Service:
    """A unit's command, started as the unit says; `root` is where / is for it."""

    def __init__(
        self,
        unit: Unit,
        root: Path = Path("/"),
        *,
        command: list[str] | None = None,
        user: tuple[int, int] | None = None,
        credentials: Mapping[str, Path] | None = None,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        """`user`: uid and gid in place of User= (which is looked up in `root`'s passwd file)."""
        self.unit = unit
        self._root = root
        self._command = command or unit.command
        self._uid, self._gid = user or account(root, unit.one("User"))
        self._environment = dict(environment or {})
        self._scratch = Path(tempfile.mkdtemp(prefix="candor-service-"))
        self.log = log or self._scratch / "log"
        self._given = credentials if credentials is not None else self._of_unit()
        self._credentials = root / "run/credentials" / unit.name if root != Path("/") else None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.said: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def _of_unit(self) -> dict[str, Path]:
        pairs = (value.split(":", 1) for value in self.unit.all("LoadCredential"))
        return {name: self._root / path.lstrip("/") for name, path in pairs}

    def __enter__(self) -> Service:
        address = f"@candor-{secrets.token_hex(8)}"  # abstract: it is reached from every root
        self._socket.bind("\0" + address[1:])
        program = self._scratch / "filter"
        program.write_bytes(filter_program(self.unit))
        wishes = {
            "root": str(self._root),
            "uid": self._uid,
            "gid": self._gid,
            "folder": "/",
            "filter": str(program),
        }
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "NOTIFY_SOCKET": address,
            "WATCHDOG_USEC": "3000000",
            "CREDENTIALS_DIRECTORY": str(self._pass_credentials()),
            **self._environment,
        }
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(LAUNCH), json.dumps(wishes), *self._command],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        return self

    def _pass_credentials(self) -> Path:
        folder = self._credentials or self._scratch / "credentials"
        folder.mkdir(parents=True)
        for name, path in self._given.items():
            shutil.copyfile(path, folder / name)
            (folder / name).chmod(0o400)
            os.chown(folder / name, self._uid, self._gid)
        os.chown(folder, self._uid, self._gid)
        if self._credentials is None:
            self._scratch.chmod(0o711)
            return folder
        return Path("/") / folder.relative_to(self._root)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def ready(self, seconds: float = 30.0, word: str = "READY=1") -> None:
        """Wait until it has said `word`."""
        deadline = time.monotonic() + seconds
        while not any(line.startswith(word) for line in self.said):
            self._socket.settimeout(0.2)
            try:
                self.said += self._socket.recv(4096).decode().splitlines()
            except TimeoutError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    text = self.log.read_text(errors="replace")[-3000:]
                    raise AssertionError(f"{self.unit.name} said {self.said}, not {word}:\n{text}") from None

    def stop(self) -> int:
        """End it as systemd does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(KILL_SECONDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._socket.close()
        for folder in (self._scratch, *filter(None, [self._credentials])):
            shutil.rmtree(folder, ignore_errors=True)


def account(root: Path, name: str) -> tuple[int, int]:
    """uid and gid of a user of that root."""
    for line in (root / "etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if fields[0] == name:
            return int(fields[2]), int(fields[3])
    raise AssertionError(f"there is no user {name} in {root}")


def have_seccomp() -> bool:
    """Whether system calls can be filtered here as a unit says."""
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    return shutil.which("systemd-analyze") is not None


def missing(names: Iterable[str]) -> list[str]:
    """Which of these commands this machine does not have."""
    return [name for name in names if shutil.which(name) is None]
