"""docs/ceremony.md, word for word: what two persons type is what is run here, in this order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs.folders import load_root
from candor_certs.invitation import fingerprint
from candor_certs.store import read_certificates
from candor_hub.config import load_config
from candor_hub.founding import open_keys, open_store

ROOT = Path(__file__).resolve().parents[2]
MEDIA = "export SAFE=/media/safe TRANSFER=/media/transfer\n"


def blocks() -> list[str]:
    """What stands in fences marked `sh`, in order."""
    text = (ROOT / "docs/ceremony.md").read_text("utf-8")
    found = re.findall(r"^( *)```sh\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for _, block in found]


def type_in(block: str, folder: Path, typed: str = "") -> str:
    """Run a block as a person's shell does, with the media where this machine has them; what is printed."""
    media = f"export SAFE={folder}/safe TRANSFER={folder}/transfer\n"
    done = subprocess.run(
        ["bash", "-e", "-c", media + block],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        input=typed,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_ceremony_is_what_the_document_says(tmp_path: Path) -> None:
    for medium in ("safe", "transfer"):
        (tmp_path / medium).mkdir(mode=0o700)
    media, root, published, issuing, hub, yearly, copy = blocks()
    assert media == MEDIA
    first, second = re.findall(r"Code of person \d: (\S+)", type_in(root, tmp_path))
    said = re.findall(r"SHA256:[0-9a-f ]{79}", type_in(published, tmp_path))[0]
    codes = f"{first}\n{second}\n"
    assert "belong together" in type_in(issuing, tmp_path, codes)
    at_the_hub = type_in(hub, tmp_path)
    assert at_the_hub.count(said) >= 2  # what `show` prints there, and `init`
    listed = type_in(yearly, tmp_path, codes)
    assert re.search(r"replaced, good until .*\n  members that go by it: 0", listed), listed
    assert re.search(r"in use, good until", listed)
    assert said in type_in(copy, tmp_path)
    # What it was all for: the hub certifies under the second authority, and that hangs from the root of the
    # minutes.
    config = load_config(tmp_path / "hub/hub.toml")
    store = open_store(config)
    try:
        keys = open_keys(config, store)
    finally:
        store.close()
    (second_authority,) = read_certificates(tmp_path / "transfer/issuing-2/issuing.crt")
    assert keys.authority.certificate == second_authority
    assert fingerprint(keys.root.public_bytes(Encoding.DER)) == said
    # The root's key never left its medium, and opens with both codes only.
    assert not list(tmp_path.glob("hub/**/root.key"))
    assert not (tmp_path / "transfer/root.key").exists()
    assert load_root(tmp_path / "safe/root", [second, first]).certificate == keys.root
    assert load_root(tmp_path / "transfer/second-copy", [first, second]).certificate == keys.root
