"""Generate proto/candor_proto/name_tables.py: `tools/generate_name_tables.py [--check] [--source DIR]`.

Rules of this file:
- the two sources are pinned by version *and* by the SHA-256 of the files read, so that a republished
  package cannot change who matches whom; they are installed in a throw-away environment and never
  become dependencies;
- the output depends on nothing but those files and the corrections below;
- every correction of a source stands below with its reason.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "proto" / "candor_proto" / "name_tables.py"
SOURCES = ("nicknames==1.0.1", "names==0.3.0")
SOURCE_DIGESTS = {
    "nicknames/names.csv": "f370c99f12a564f4f074192ba690f242b7857d53a4ea60257366e365cc63a276",
    "names/dist.male.first": "0a5078ef6effe3b483d15b0f7f95047662126c9bfb624ecd5e5b978fc0f2470b",
    "names/dist.female.first": "bd2f310fc4e5d5e5ea122c9d4342c9821145823118eb20db1647f305ec77b358",
}
MAX_LINE = 100

# Rows of the table that are left out, `canonical: nickname ...`. The root of a name is its most frequent form
# (MATCHING.md §3 rule 4), so a row of two different names makes one of them the other's root: Bill became
# Robert and never met William, Fred became Willie. The whole table was reviewed. Most doubtful rows (Ian of
# John, Ellen of Helen, Lisa of Elizabeth) are kept: since records say every root that may be asked
# (phonetics.recorded_forms), they cost no miss; leaving out 131 more lost .001 of recall on officers-dev and
# devhard, .15 bits of a root's evidence the better, and not one false opening fewer.
_DROPPED = """
bill: fred robert
billy: fred robert
robert: bill billy
will: fred
willie: fred
"""

# One name in several spellings, a class a semicolon or line; the most frequent of the census is the
# canonical one. Ours, from general knowledge, checked against the census list: romanisations of Arabic and
# Russian names (the table has hardly any), then English names that clerks confuse.
_SPELLINGS = """
mohammed muhammad mohammad mohamed mohamad muhammed mohamud mohamoud
ahmed ahmad; hussein hussain husain hussien; hassan hasan; yusuf yousef youssef yousuf yusef yousif
ibrahim ebrahim ibraheem; abdullah abdallah abdulla; omar umar; khalid khaled; mahmoud mahmud mahmood
mustafa mostafa mustapha moustafa; saeed said saeid; samir sameer; tariq tarek tarik tareq; karim kareem
rashid rasheed; hamid hameed; jamal jamaal; fatima fatimah; aisha aysha ayesha aishah; maryam mariam
zainab zaynab zeinab; khadija khadijah
sergei sergey; dmitri dmitry dimitri dimitry dmitriy; alexei alexey aleksei aleksey; andrei andrey
yuri yury yuriy; nikolai nikolay nicolai; evgeny yevgeny evgeni evgeniy yevgeni yevgeniy
vasily vasili vasiliy; mikhail michail; anatoly anatoli anatoliy; vitaly vitali vitaliy
alexander aleksandr alexandr aleksander; ekaterina yekaterina; natalia natalya nataliya; tatiana tatyana
oksana oxana; yulia yuliya
catherine katherine kathryn katharine catharine cathryn kathrine katheryn; kathleen cathleen; kathy cathy
stephen steven stephan; jeffrey geoffrey jeffery jeffry; sean shawn shaun; brian bryan; eric erik erick
marc mark; carl karl; craig kraig; kurt curt; philip phillip; alan allan allen; glen glenn; gregory greggory
neil neal; stuart stewart; lawrence laurence; terence terrence terrance; randall randal; russell russel
darrell darrel daryl darryl; derek derrick derick; michael micheal; matthew mathew; nicholas nicolas nickolas
christopher kristopher cristopher; zachary zachery zackary; jonathan johnathan jonathon; anthony antony
cody kody; corey cory; leslie lesley; tracy tracey traci tracie; stacy stacey staci stacie; lynn lynne
ann anne; sara sarah; rebecca rebekah; rachel rachael; deborah debra debora; teresa theresa; cheryl sheryl
sherry sherri sheri sherrie; terri teri; kristen kristin; christina kristina; christine kristine
christa krista; christy kristy kristi christie; lori laurie lorie; elizabeth elisabeth; suzanne susanne
vicki vicky vickie; jacqueline jacquelyn; michelle michele; nicole nichole; melissa melisa
jennifer jenifer; karen karin; diane dianne; yvonne ivonne; yvette ivette; katie katy
kelly kelley kelli kellie; hannah hanna; megan meghan meagan; caitlin kaitlin kaitlyn katelyn
haley hailey hayley; brittany britney brittney; lindsay lindsey; allison alison allyson
"""

# Short forms in Spanish, `canonical: nickname ...`, likewise ours; the table has hardly any.
_SPANISH = """
jose: pepe; francisco: paco pancho; guillermo: memo; jesus: chuy; ignacio: nacho; eduardo: lalo
enrique: quique kike; rafael: rafa; roberto: beto; alberto: beto; manuel: manolo; fernando: nando
gregorio: goyo; rigoberto: rigo; guadalupe: lupe lupita; dolores: lola; rosario: chayo; consuelo: chelo
concepcion: concha; mercedes: meche; graciela: chela; isabel: chabela; luis: lucho; sergio: checo
"""


def _rows(text: str) -> list[tuple[str, list[str]]]:
    rows = [row.strip() for row in text.replace("\n", ";").split(";") if row.strip()]
    return [(row.partition(":")[0], row.partition(":")[2].split()) for row in rows]


DROPPED_PAIRS = frozenset((canonical, name) for canonical, names in _rows(_DROPPED) for name in names)
SPELLINGS = tuple(tuple(row.split()) for row, _ in _rows(_SPELLINGS))
SPANISH_PAIRS = frozenset((canonical, name) for canonical, names in _rows(_SPANISH) for name in names)

HEADER = '''"""Nickname classes and census frequencies of given names.

GENERATED by tools/generate_name_tables.py: edit that, not this.

Sources and licences:
- `NICKNAMES`: the table of the PyPI package `nicknames` 1.0.1 (https://github.com/carltonnorthern/nicknames),
  copyright its authors, Apache License 2.0. Changed: {dropped} pairs of two different names are left
  out and {added} pairs of our own added (spellings of one name, Spanish short forms): the tool lists both.
- `FREQUENCIES`: 1990 United States Census given-name frequencies (a work of the United States Government)
  as shipped in the PyPI package `names` 0.3.0, copyright Trey Hunner, MIT License. Changed: male and
  female added, in thousandths of a percent, and only names that stand in `NICKNAMES` are kept.

Two nodes whose tables differ miss each other silently, so a change of `TABLES_SHA256` is a change of the
scheme version (candor_proto.normalise.SCHEME_VERSION).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# SHA-256 over NICKNAMES ‖ 0x00 ‖ FREQUENCIES in UTF-8.
TABLES_SHA256 = "{digest}"

# One class a line, `canonical: nickname nickname ...`; a long class goes on in a line of the same name.
NICKNAMES = """\\
{nicknames}
"""

# `name thousandths`, alphabetical, several a line.
FREQUENCIES = """\\
{frequencies}
"""


def _frequencies() -> Mapping[str, int]:
    words = FREQUENCIES.split()
    return MappingProxyType(dict(zip(words[::2], map(int, words[1::2]), strict=True)))


FREQUENCY: Mapping[str, int] = _frequencies()


def _canonical_forms() -> Mapping[str, tuple[str, ...]]:
    forms: dict[str, set[str]] = {{}}
    for line in NICKNAMES.splitlines():
        canonical, _, nicknames = line.partition(":")
        for nickname in nicknames.split():
            forms.setdefault(nickname, set()).add(canonical)

    def rarity(form: str) -> tuple[int, str]:
        return -FREQUENCY.get(form, 0), form

    return MappingProxyType({{name: tuple(sorted(forms[name], key=rarity)) for name in forms}})


# Nickname to the canonical forms it may stand for: most frequent first, then alphabetical.
CANONICAL_FORMS: Mapping[str, tuple[str, ...]] = _canonical_forms()


def _nicknames_of() -> Mapping[str, tuple[str, ...]]:
    names: dict[str, list[str]] = {{}}
    for nickname in sorted(CANONICAL_FORMS):
        for canonical in CANONICAL_FORMS[nickname]:
            names.setdefault(canonical, []).append(nickname)
    return MappingProxyType({{canonical: tuple(names[canonical]) for canonical in names}})


# Canonical form to the nicknames that may stand for it, alphabetical.
NICKNAMES_OF: Mapping[str, tuple[str, ...]] = _nicknames_of()
'''


def install(folder: Path, sources: Sequence[str] = SOURCES) -> Path:
    """Install the pinned `sources` into a new environment in `folder`; returns its site-packages."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *sources], check=True)
    told = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(told.stdout.strip())


def read_source(site: Path, name: str, digests: Mapping[str, str] = SOURCE_DIGESTS) -> str:
    """The text of one pinned source file; stops the tool when its digest is not the pinned one."""
    data = (site / name).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != digests[name]:
        raise SystemExit(f"{name}: SHA-256 is {found}, expected {digests[name]}.")
    return data.decode("ascii")


def letters(name: str) -> str:
    """The normal form of a table's name, as candor_proto.normalise makes it: `l.r.` is `lr`."""
    return "".join(letter for letter in name.lower() if "a" <= letter <= "z")


def nickname_pairs(text: str) -> list[tuple[str, str]]:
    """(canonical, nickname) pairs of the source table less `DROPPED_PAIRS`, sorted."""
    rows = csv.DictReader(io.StringIO(text))
    kept = [row for row in rows if row["relationship"] == "has_nickname"]
    pairs = {(letters(row["name1"]), letters(row["name2"])) for row in kept}
    if any(not name for pair in pairs for name in pair):
        raise SystemExit("A name of the table has no letters.")
    missing = DROPPED_PAIRS - pairs
    if missing:
        raise SystemExit(f"Corrections that correct nothing: {sorted(missing)}")
    return sorted(pair for pair in pairs - DROPPED_PAIRS if pair[0] != pair[1])


def added_pairs(frequency: Mapping[str, int]) -> set[tuple[str, str]]:
    """(canonical, other spelling or short form) pairs of our own."""
    pairs = set(SPANISH_PAIRS)
    for spellings in SPELLINGS:
        canonical, *others = sorted(spellings, key=lambda name: (-frequency.get(name, 0), name))
        pairs |= {(canonical, other) for other in others}
    return pairs


def census_thousandths(texts: Iterable[str]) -> dict[str, int]:
    """Name to its frequency in thousandths of a percent, the given lists added."""
    total: dict[str, int] = {}
    for text in texts:
        for line in text.splitlines():
            name, percent, _cumulative, _rank = line.split()
            whole, _, thousandths = percent.partition(".")
            key = name.lower()
            total[key] = total.get(key, 0) + int(whole) * 1000 + int(thousandths.ljust(3, "0"))
    return total


def wrapped(words: Iterable[str], prefix: str = "") -> list[str]:
    """Lines of at most MAX_LINE characters, each opening with `prefix`."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= MAX_LINE:
            lines[-1] += " " + word
        else:
            lines.append(f"{prefix} {word}".lstrip())
    return lines


def render(pairs: list[tuple[str, str]], frequency: Mapping[str, int]) -> str:
    """The text of the generated module."""
    classes: dict[str, list[str]] = {}
    for canonical, nickname in pairs:
        classes.setdefault(canonical, []).append(nickname)
    lines = [line for name in sorted(classes) for line in wrapped(classes[name], f"{name}:")]
    nicknames = "\n".join(lines)
    known = sorted({name for pair in pairs for name in pair} & frequency.keys())
    frequencies = "\n".join(wrapped(f"{name} {frequency[name]}" for name in known))
    digest = hashlib.sha256(f"{nicknames}\n\0{frequencies}\n".encode()).hexdigest()
    return HEADER.format(
        dropped=len(DROPPED_PAIRS),
        added=len(added_pairs(frequency)),
        digest=digest,
        nicknames=nicknames,
        frequencies=frequencies,
    )


def generate(site: Path) -> str:
    """The generated module from the sources installed in `site`."""
    pairs = nickname_pairs(read_source(site, "nicknames/names.csv"))
    lists = (read_source(site, f"names/dist.{sex}.first") for sex in ("male", "female"))
    frequency = census_thousandths(lists)
    return render(sorted({*pairs, *added_pairs(frequency)}), frequency)


def run(doc: str | None, output: Path, generate: Callable[[Path], str]) -> None:
    """The command line of a generator: write `output`, or with --check fail if it is not current."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is not current")
    parser.add_argument("--source", type=Path, help="a site-packages that already holds the two packages")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        text = generate(arguments.source or install(Path(scratch)))
    if not arguments.check:
        output.write_text(text, encoding="utf-8")
    elif output.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{output.relative_to(ROOT)} is not what this tool generates: run it again.")


if __name__ == "__main__":
    run(__doc__, OUTPUT, generate)
