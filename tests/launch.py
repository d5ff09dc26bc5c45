"""Start a command as a service manager would: another root, another user, no new privileges, a filter.

    python launch.py <JSON> <command…>     {"root": "/", "uid": 0, "gid": 0, "folder": "/", "filter": "file"}

Of the standard library alone, and run by its path: nothing of the project is importable in what it starts.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 1, 22, 38, 2
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
SIGKILL = 9
INSTRUCTION_OCTETS = 8


class Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def main() -> None:
    wishes, command = json.loads(sys.argv[1]), sys.argv[2:]
    code = Path(wishes["filter"]).read_bytes() if wishes["filter"] else b""
    libc = ctypes.CDLL(None, use_errno=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    if wishes["root"] != "/":
        # With a /proc, as every machine has one, in a namespace that ends with this process.
        place = (wishes["root"].rstrip("/") + "/proc").encode()
        done = libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
        if done or libc.mount(b"proc", place, b"proc", 0, None):
            raise OSError(ctypes.get_errno(), "no /proc in another root")
        os.chroot(wishes["root"])
    os.chdir(wishes["folder"])
    if wishes["uid"] != os.getuid():
        os.setgroups([])
        os.setresgid(wishes["gid"], wishes["gid"], wishes["gid"])
        os.setresuid(wishes["uid"], wishes["uid"], wishes["uid"])
    # After the change of user, which takes it away.
    libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no new privileges")
    if code:
        program = Program(len(code) // INSTRUCTION_OCTETS, code)
        if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
            raise OSError(ctypes.get_errno(), "the filter of system calls")
    os.execve(command[0], command, dict(os.environ))


if __name__ == "__main__":
    main()
