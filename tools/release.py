"""Makes what a release is: a reproducible wheel, and the bundle that a machine without network installs.

    python -m tools.release wheel [--commit COMMIT] [--out DIR]     one wheel, the same octets for everybody
    python -m tools.release bundle [--out DIR] [--with-extras]      wheel, all that it needs, installer, units
    python -m tools.release cut VERSION                             what deploy/releases keeps of a release
    python -m tools.release verify [VERSION]                        builds a kept release anew and compares

Rules of this file:
- a wheel is built from a commit, never from what happens to lie in the checkout, at the time of that commit;
- what stands in the wheel is compared with the list of files that git knows, both ways, and looked through
  for keys, before anybody gets it;
- a bundle names the SHA-256 of every wheel in it, and its installer takes no other.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
RELEASES = DEPLOY / "releases"
SUMS = "SHA256SUMS"
DISTRIBUTION = "candor_exchange"
# Kinds of files that the packages are made of; another kind is looked at by a person first.
KINDS = frozenset({"py", "pyi", "proto", "typed", "j2", "toml", "pub", "sig", "html", "css", "js", "json"})
SECRETS = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----|-----BEGIN CANDOR INVITATION-----\nVersion")
# In a wheelhouse of Linux; a lock is for every system.
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")


class ReleaseRefused(Exception):
    """What was made may not go out; the message is for a person."""


@dataclass(frozen=True)
class Source:
    """An unpacked commit (or checkout): its folder, the files that git knows in it, and its time."""

    folder: Path
    files: tuple[str, ...]
    epoch: int

    @property
    def project(self) -> Mapping[str, object]:
        return tomllib.loads((self.folder / "pyproject.toml").read_text("utf-8"))

    @property
    def version(self) -> str:
        project = self.project["project"]
        assert isinstance(project, dict)
        return str(project["version"])

    def packages(self) -> dict[str, str]:
        """Folder in the sources to folder in the wheel, of every package."""
        return {path: Path(path).name for path in wheel_packages(self.folder)}


# --- sources ------------------------------------------------------------------------------------------


def wheel_packages(root: Path = ROOT) -> list[str]:
    """The packages that the wheel is made of, as folders relative to `root`."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    packages: list[str] = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return packages


def git(*words: str, root: Path = ROOT) -> bytes:
    done = subprocess.run(["git", "-c", "safe.directory=*", *words], cwd=root, capture_output=True)
    if done.returncode:
        raise ReleaseRefused(f"git {words[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def unpack_commit(commit: str, folder: Path, root: Path = ROOT) -> Source:
    """`commit` unpacked into `folder`, which is made."""
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", commit, root=root))) as archive:
        archive.extractall(folder, filter="data")
        files = tuple(sorted(member.name for member in archive.getmembers() if member.isfile()))
    return Source(folder, files, int(git("show", "-s", "--format=%ct", commit, root=root)))


def copy_checkout(folder: Path, root: Path = ROOT, epoch: int = 1_800_000_000) -> Source:
    """The checkout as it is, without what git ignores: to try things, not to release them."""
    files = tuple(sorted(name for name in _known_files(root) if (root / name).is_file()))
    for name in files:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, place)
    return Source(folder, files, epoch)


def _known_files(root: Path) -> set[str]:
    try:
        listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", root=root).decode()
    except ReleaseRefused:  # a source archive: no repository, so no list
        made = re.compile(r"\.git|\.venv.*|__pycache__|\..*_cache|\.hypothesis|dist|build|.*\.pyc")
        paths = (path.relative_to(root) for path in root.rglob("*"))
        return {path.as_posix() for path in paths if not any(made.fullmatch(part) for part in path.parts)}
    return set(listed.split("\0")) - {""}


# --- wheel --------------------------------------------------------------------------------------------


def build_wheel(source: Source, out: Path) -> Path:
    """The wheel of `source` in `out`, checked; its octets depend on `source` alone. Raises ReleaseRefused."""
    with tempfile.TemporaryDirectory(prefix="candor-wheel-") as built:
        # Not pip: it would build in a copy of its own, with an environment that it fetches.
        done = subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", built],
            cwd=source.folder,
            env=_environment(source.epoch),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ReleaseRefused(f"The wheel cannot be built: {done.stdout}{done.stderr}")
        (wheel,) = Path(built).glob("*.whl")
        check_wheel(wheel, source)
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, out / wheel.name))


def _environment(epoch: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    return {**kept, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}


def expected_files(source: Source) -> set[str]:
    """What the packages in the wheel must hold, no more and no less."""
    return {
        target + name.removeprefix(folder)
        for folder, target in source.packages().items()
        for name in source.files
        if name.startswith(folder + "/")
    }


def check_wheel(wheel: Path, source: Source) -> None:
    """Raises ReleaseRefused unless the wheel holds the packages, LICENSE, NOTICE, nothing else and no key."""
    faults = []
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = f"{DISTRIBUTION}-{source.version}.dist-info"
        inside = {name for name in names if not name.startswith(metadata + "/")}
        wanted = expected_files(source)
        faults += [f"{name} is missing" for name in sorted(wanted - inside)]
        faults += [f"{name} has no business in it" for name in sorted(inside - wanted)]
        for licence in ("LICENSE", "NOTICE"):
            if f"{metadata}/licenses/{licence}" not in names:
                faults.append(f"{licence} is missing")
        for name in sorted(inside):
            if name.rpartition(".")[2] not in KINDS:
                faults.append(f"{name} is of a kind that no package has")
            if re.search(r"(^|/)(tests?|conftest\.py|test_[^/]*\.py)(/|$)", name):
                faults.append(f"{name} looks like a test")
            if SECRETS.search(archive.read(name)):
                faults.append(f"{name} holds a private key or an invitation")
        for name in ("node/candor_records/packs", "node/candor_node/templates"):
            target = "/".join(Path(name).parts[1:]) + "/"
            if not any(inner.startswith(target) for inner in inside):
                faults.append(f"nothing of {target} is in it")
    if faults:
        raise ReleaseRefused(f"{wheel.name}: " + "; ".join(faults))


# --- locks --------------------------------------------------------------------------------------------


def locked(path: Path) -> dict[str, str]:
    """Name (lower case) to the block `name==version ; marker \\ --hash=…` of a lock file."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", path.read_text("utf-8").strip())
    return {block.partition("==")[0].lower(): block for block in blocks}


def check_locks(deploy: Path = DEPLOY, root: Path = ROOT) -> None:
    """Raises ReleaseRefused unless what is installed is what was tested: one version in all locks."""
    tested = {name: _version(block) for name, block in locked(root / "requirements.lock").items()}
    for lock in ("requirements.lock", "requirements-extras.lock"):
        for name, block in locked(deploy / lock).items():
            if tested.get(name) != _version(block):
                raise ReleaseRefused(
                    f"deploy/{lock} has {name} {_version(block)}, requirements.lock {tested.get(name)}: "
                    "run `make lock`."
                )


def _version(block: str) -> str:
    return re.split(r"[ ;\\]", block.partition("==")[2], maxsplit=1)[0]


# --- bundle -------------------------------------------------------------------------------------------


def bundle_name(version: str) -> str:
    return (
        f"candor-exchange-{version}-{sysconfig.get_platform()}-py{sys.version_info[0]}{sys.version_info[1]}"
    )


def fetch_wheels(lock: Path, out: Path, epoch: int) -> None:
    """Every wheel of `lock` for this machine in `out`: fetched by hash; built here where there is none."""
    done = subprocess.run(
        [
            *(*_PIP, "wheel", "--quiet", "--require-hashes", "--no-deps", "--no-build-isolation"),
            *("--wheel-dir", str(out), "--requirement", str(lock)),
        ],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ReleaseRefused(f"The wheels of {lock.name} cannot be had: {done.stderr.strip()[-2000:]}")


def write_bundle(out: Path, source: Source, wheels: Iterable[Path], extras: Iterable[Path] = ()) -> Path:
    """The bundle as `<out>/<name>.tar.gz` with its SHA-256 beside it; the same octets from the same wheels.

    `wheels` are installed, `extras` (for object storage and traces) lie beside them.
    """
    version, root = source.version, source.folder
    content: dict[str, bytes] = {}
    for path in sorted({*wheels, *extras}):
        content[f"wheels/{path.name}"] = path.read_bytes()
    content["requirements.txt"] = _requirements(wheels)
    content["requirements-extras.txt"] = _requirements({*wheels, *extras})
    for path in (root / "deploy/install.sh", *sorted((root / "deploy/systemd").iterdir())):
        content[str(path.relative_to(root / "deploy"))] = path.read_bytes()
    for name in ("LICENSE", "NOTICE", "CHANGELOG.md", "docs/operations.md"):
        content[Path(name).name] = (root / name).read_bytes()
    content["VERSION"] = f"{version}\n".encode()
    content["PYTHON"] = "{}.{}\n".format(*sys.version_info[:2]).encode()
    out.mkdir(parents=True, exist_ok=True)
    archive = out / f"{bundle_name(version)}.tar.gz"
    archive.write_bytes(_packed(f"candor-exchange-{version}", content, source.epoch))
    (out / f"{archive.name}.sha256").write_text(f"{sha256(archive)}  {archive.name}\n")
    return archive


def _requirements(wheels: Iterable[Path]) -> bytes:
    lines = [f"./wheels/{path.name} --hash=sha256:{sha256(path)}" for path in sorted(wheels)]
    return ("\n".join(lines) + "\n").encode()


def _packed(top: str, content: Mapping[str, bytes], epoch: int) -> bytes:
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=6, mtime=epoch) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(content):
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mtime = len(content[name]), epoch
            entry.mode = 0o755 if name.endswith(".sh") else 0o644
            archive.addfile(entry, io.BytesIO(content[name]))
    return packed.getvalue()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- what is kept -------------------------------------------------------------------------------------


def kept_releases(folder: Path = RELEASES) -> dict[str, Path]:
    """Version to wheel of every release that is kept, oldest first."""
    found = {path.name.split("-")[1]: path for path in folder.glob(f"{DISTRIBUTION}-*.whl")}
    return dict(sorted(found.items(), key=lambda item: tuple(map(int, item[0].split(".")))))


def kept_commit(version: str, folder: Path = RELEASES) -> str:
    """The commit that a kept release was built from."""
    for line in (folder / SUMS).read_text("utf-8").splitlines():
        if line.startswith(f"# {version} is commit "):
            return line.rpartition(" ")[2]
    raise ReleaseRefused(f"{SUMS} does not say which commit {version} is.")


def check_kept(folder: Path = RELEASES) -> None:
    """Raises ReleaseRefused unless the folder holds exactly the files of SHA256SUMS, unchanged."""
    lines = (folder / SUMS).read_text("utf-8").splitlines()
    named = dict(line.split("  ")[::-1] for line in lines if line and not line.startswith("#"))
    there = {path.name for path in folder.iterdir()} - {SUMS}
    faults = [f"{name} is not there" for name in sorted(set(named) - there)]
    faults += [f"{name} is not named in {SUMS}" for name in sorted(there - set(named))]
    for name in sorted(there & set(named)):
        if sha256(folder / name) != named[name]:
            faults.append(f"{name} was changed")
    if faults:
        raise ReleaseRefused("deploy/releases: " + "; ".join(faults))


def cut(version: str, commit: str = "HEAD", folder: Path = RELEASES) -> list[Path]:
    """Put wheel, lock and SBOM of `version` into `folder`; the files. Raises ReleaseRefused."""
    from tools.sbom import bill_of_materials, write_bill

    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseRefused(f"{version} is no version of a release, such as 0.1.0.")
    if version in kept_releases(folder):
        raise ReleaseRefused(f"{version} is kept already: a release is never made twice.")
    number = git("rev-parse", f"{commit}^{{commit}}").decode().strip()
    with tempfile.TemporaryDirectory(prefix="candor-release-") as scratch:
        source = unpack_commit(number, Path(scratch, "source"))
        if source.version != version:
            raise ReleaseRefused(f"pyproject.toml of {number[:12]} says {source.version}, not {version}.")
        if f"## [{version}]" not in (source.folder / "CHANGELOG.md").read_text("utf-8"):
            raise ReleaseRefused(f"CHANGELOG.md of {number[:12]} has no section [{version}].")
        check_locks(source.folder / "deploy", source.folder)
        wheel = build_wheel(source, folder)
        lock = folder / f"{DISTRIBUTION}-{version}.lock"
        shutil.copyfile(source.folder / "deploy/requirements.lock", lock)
        bill = folder / f"{DISTRIBUTION}-{version}.cdx.json"
        write_bill(bill_of_materials(version, lock, sha256(wheel), source.epoch), bill)
    made = [wheel, lock, bill]
    sums = folder / SUMS
    text = sums.read_text("utf-8") if sums.exists() else ""
    text += f"# {version} is commit {number}\n" + "".join(f"{sha256(path)}  {path.name}\n" for path in made)
    sums.write_text(text, "utf-8")
    return made


def verify(version: str, folder: Path = RELEASES) -> None:
    """Build a kept release anew from its commit; raises ReleaseRefused unless every octet is the same."""
    with tempfile.TemporaryDirectory(prefix="candor-release-") as scratch:
        source = unpack_commit(kept_commit(version, folder), Path(scratch, "source"))
        wheel = build_wheel(source, Path(scratch, "out"))
        if wheel.read_bytes() != (folder / wheel.name).read_bytes():
            raise ReleaseRefused(
                f"{wheel.name} is another one when it is built here: compare with hatchling of that commit's "
                "requirements.lock."
            )


# --- command line -------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.release", description=(__doc__ or "").partition("\n")[0]
    )
    todo = parser.add_subparsers(dest="what", required=True)
    for name in ("wheel", "bundle"):
        made = todo.add_parser(name)
        made.add_argument("--commit", default="HEAD", help="default: HEAD")
        made.add_argument("--out", type=Path, default=ROOT / "dist", help="default: dist")
    todo.choices["bundle"].add_argument(
        "--with-extras", action="store_true", help="wheels of s3 and otel too"
    )
    todo.add_parser("cut").add_argument("version")
    todo.add_parser("verify").add_argument("version", nargs="?")
    options = parser.parse_args(arguments)
    try:
        for line in _do(options):
            print(line)
    except ReleaseRefused as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


def _do(options: argparse.Namespace) -> Iterable[str]:
    match options.what:
        case "wheel":
            with tempfile.TemporaryDirectory(prefix="candor-release-") as scratch:
                wheel = build_wheel(unpack_commit(options.commit, Path(scratch, "source")), options.out)
            yield f"{sha256(wheel)}  {wheel}"
        case "bundle":
            archive = make_bundle(options.out, options.commit, with_extras=options.with_extras)
            yield f"{sha256(archive)}  {archive}"
        case "cut":
            yield from (f"{sha256(path)}  {path.relative_to(ROOT)}" for path in cut(options.version))
        case "verify":
            check_kept()
            for version in [options.version] if options.version else kept_releases():
                verify(version)
                yield f"{version} is what its commit makes"


def make_bundle(out: Path, commit: str = "HEAD", *, with_extras: bool = False) -> Path:
    """Wheel and bundle of `commit` for machines like this one. Fetches what the locks name."""
    if platform.system() != "Linux":
        raise ReleaseRefused("A bundle is made on the system that it is for, and that is Linux.")
    with tempfile.TemporaryDirectory(prefix="candor-release-") as scratch:
        source = unpack_commit(commit, Path(scratch, "source"))
        deploy, house = source.folder / "deploy", Path(scratch, "wheels")
        check_locks(deploy, source.folder)
        wheel = build_wheel(source, out)
        fetch_wheels(deploy / "requirements.lock", house, source.epoch)
        wheels = {wheel, *house.glob("*.whl")}
        if with_extras:
            more = Path(scratch, "extras")
            fetch_wheels(deploy / "requirements-extras.lock", more, source.epoch)
            extras = {path for path in more.glob("*.whl") if not (house / path.name).exists()}
        else:
            extras = set()
        return write_bundle(out, source, wheels, extras)


if __name__ == "__main__":
    sys.exit(main())
