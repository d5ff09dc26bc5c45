"""Sign the policy packs that come with Candor: `python -m tools.sign_packs [--check]`.

Rules of this file:
- a pack whose cases do not all come out is not signed;
- each run makes a new key, signs every pack with it, writes its public half beside them and forgets the
  private one: no key has to be kept, and nothing can be signed later in its name;
- `--check` changes nothing and says whether the signatures fit the packs (a test does the same).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from candor_proto.errors import CandorError
from candor_proto.signing import SigningKey, VerifyingKey
from candor_records.pack_cases import check_cases
from candor_records.pack_reader import read_pack
from candor_records.pack_rules import DEFAULT_PACK
from candor_records.pack_signature import SUFFIX, PackSignature, check_signature, sign_pack

FOLDER = Path(__file__).resolve().parent.parent / "node/candor_records/packs"
KEY_FILE = "release.pub"


def sign(folder: Path) -> list[str]:
    """Sign every pack in `folder`; returns their names. Raises PackInvalid before anything is written."""
    packs = sorted(folder.glob("*.toml"))
    default = read_pack((folder / f"{DEFAULT_PACK}.toml").read_bytes())
    for path in packs:
        check_cases(read_pack(path.read_bytes()), default)
    key = SigningKey.generate()
    for path in packs:
        signature = sign_pack(key, path.read_bytes())
        path.with_name(path.name + SUFFIX).write_text(signature.text, "ascii")
    (folder / KEY_FILE).write_text(key.public.value.hex() + "\n", "ascii")
    return [path.stem for path in packs]


def check(folder: Path) -> list[str]:
    """The names of the packs in `folder`, once every signature was checked; raises CandorError."""
    key = VerifyingKey(bytes.fromhex((folder / KEY_FILE).read_text("ascii").strip()))
    packs = sorted(folder.glob("*.toml"))
    for path in packs:
        signature = PackSignature.parse(path.with_name(path.name + SUFFIX).read_text("ascii"))
        check_signature(path.read_bytes(), signature, {key})
    return [path.stem for path in packs]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sign_packs", description="Sign the shipped policy packs.")
    parser.add_argument("--check", action="store_true", help="only check the signatures that are there")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        names = (check if options.check else sign)(options.folder)
    except (CandorError, OSError, ValueError) as error:
        print(f"sign_packs: {error}", file=sys.stderr)
        return 1
    print(f"{'checked' if options.check else 'signed'}: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
