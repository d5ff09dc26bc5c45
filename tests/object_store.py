"""A real S3-compatible object store for tests: OpenStack Swift with its S3 interface, as Debian packages it.

    with object_store() as store:
        store.environment()     # what a program needs to use it
        store.stop(); store.start()

Four servers and three rings in a temporary folder; every request must be signed. PACKAGES are needed.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.postgres import free_port

PACKAGES = ("swift-proxy", "swift-account", "swift-container", "swift-object")
# Swift is installed for Debian's Python, not for ours.
SYSTEM_PYTHON = "/usr/bin/python3"
KINDS = ("account", "container", "object")
START_SECONDS = 120
BUCKET, KEY_ID, SECRET = "segments", "candor:hub", "object-store-secret-5e1c"

_RINGS = """\
import json, sys
from swift.common.ring import RingBuilder
folder, ports = sys.argv[1], json.loads(sys.argv[2])
for kind in ("account", "container", "object"):
    builder = RingBuilder(4, 1, 0)
    there = {"ip": "127.0.0.1", "port": ports[kind], "device": "d1", "meta": "", "weight": 1.0}
    again = {"replication_ip": there["ip"], "replication_port": there["port"]}
    builder.add_dev({"region": 1, "zone": 1, **there, **again})
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{kind}.ring.gz")
"""
_BUCKET = """\
import sys
from swift.common.internal_client import InternalClient
InternalClient(f"{sys.argv[1]}/internal.conf", "tests", 3).create_container("AUTH_candor", sys.argv[2])
"""
_COMMON = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
workers = 0
user = {user}
log_address = {folder}/nobody-logs
recon_cache_path = {folder}/cache
fallocate_reserve = 0
"""
_STORAGE = """\
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_PROXY = """\
[pipeline:main]
pipeline = {pipeline}
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_candor_hub = {secret} .admin
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
"""
_SWIFT = """\
[swift-hash]
swift_hash_path_suffix = candor
[storage-policy:0]
name = one
default = yes
"""


def is_installed() -> bool:
    """Whether every server of Swift is here."""
    return all(shutil.which(f"swift-{kind}-server") for kind in (*KINDS, "proxy"))


@dataclass
class ObjectStore:
    """Swift's servers over one folder."""

    folder: Path
    ports: dict[str, int] = field(default_factory=lambda: {kind: free_port() for kind in (*KINDS, "proxy")})
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def make(self) -> None:
        """Settings and rings."""
        (self.folder / "devices/d1").mkdir(parents=True)
        (self.folder / "cache").mkdir()
        (self.folder / "swift.conf").write_text(_SWIFT)
        for kind, port in self.ports.items():
            text = _COMMON.format(port=port, folder=self.folder, user=_user())
            if kind == "proxy":
                within = text + _PROXY.format(pipeline="catch_errors cache proxy-server", secret=SECRET)
                (self.folder / "internal.conf").write_text(within)
                text += _PROXY.format(
                    pipeline="catch_errors cache s3api tempauth proxy-server", secret=SECRET
                )
            else:
                text += _STORAGE.format(kind=kind)
            (self.folder / f"{kind}.conf").write_text(text)
        _system(_RINGS, str(self.folder), json.dumps(self.ports))

    def start(self) -> None:
        """Every server, and wait until the proxy answers."""
        log = (self.folder / "log").open("ab")
        with log:
            for kind in self.ports:
                words = [f"swift-{kind}-server", str(self.folder / f"{kind}.conf")]
                self._running.append(subprocess.Popen(words, stdout=log, stderr=log))
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, f"no object store: {self._last_words()}"
            time.sleep(0.2)

    def stop(self) -> None:
        for process in self._running:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self._running.clear()

    def make_bucket(self, name: str = BUCKET) -> None:
        _system(_BUCKET, str(self.folder), name)

    def environment(self) -> dict[str, str]:
        """What the hub's environment holds."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.ports['proxy']}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def objects(self) -> list[bytes]:
        """What lies on its disk, object by object."""
        return [path.read_bytes() for path in (self.folder / "devices").rglob("*.data")]

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.ports['proxy']}/", timeout=5)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def _last_words(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")[-2_000:]


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A running one with the bucket BUCKET; everything is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="candor-swift-") as folder:
        store = ObjectStore(Path(folder).resolve())
        store.make()
        try:
            store.start()
            store.make_bucket()
            yield store
        finally:
            store.stop()


def _user() -> str:
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()


def _system(program: str, *words: str) -> None:
    done = subprocess.run([SYSTEM_PYTHON, "-c", program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2_000:]
