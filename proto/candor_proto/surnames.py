"""Surnames: their words, and the other ways in which the same surname is written (docs/matching.md §1.3).

Rules of this file:
- what both sides write (`asked_surnames`) is short, for each costs the asker elements; what only the
  record's side writes (`recorded_surnames`) may be long, for it costs an index entry: between them, the
  spellings of one surname meet whichever side has which;
- no rule needs a list of surnames; a spelling that nobody bears meets nobody;
- the two words of a double surname give the same set of surnames in either order.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from candor_proto.folding import fold_marked, marked_letters, without_marks, written_out
from candor_proto.name_words import (
    TITLES,
    is_placeholder,
    normalise_suffix,
    plain_word,
    split_asides,
    split_words,
    suffix_of_word,
    word_set,
)

# Initials and short words say nothing about the family (MATCHING.md §3 rule 2).
MIN_PART_LETTERS = 3

# Words that belong to the next one and are no part of their own.
PARTICLES = word_set("""
de del della delle dei di da das do dos du des la las le les li lo los el al ul ad an ar as ash at van von
vom zu zum zur den der het ten ter te op in ben bin bint ibn abu abd abdul af av mac mc st ste san santa
santo dela delas delos dalla degli vanden vander vande vonder o d l y e i
""")
# Of these, a given name's field holds one by mistake: `Pat O | Brien`.
_MISPLACED = word_set("""
o d mc mac de del dela delas delos la las los le di da du do dos van von vande vanden vander st al el
""")
_AND = frozenset({"y", "e"})
_ATTACHED = {"saint": "st", "st": "st", "sainte": "ste", "ste": "ste", "mc": "mc", "mac": "mac"}
_FORMERLY = frozenset({"nee", "fka", "geb"})
# `O'Brien` as `O Brien`, `D'Angelo`, `L'Heureux`.
_ELISION = re.compile(r"\b([odl])'+(?=[a-zäöüå]{2})")

# What may begin a surname behind a glued particle: a consonant and a vowel, or a consonant pair that begins
# words.
_HEAD = r"(?:[bcdfghjklmnpqrstvwxyz][aeiouy]|[bcdfgkpt][lr]|ch|gh|kh|ll|sc|sh|sm|sp|st|th)[a-z]{2,}"
# So long that hardly anything else begins with them, or Arabic as it sounds: asked as well.
_GLUED = re.compile(
    rf"(?:de(?:la|las|los)|van(?:den|der|de)|vonder)({_HEAD})|[ae]l((?:gh|h|j|kh|q|sh)[a-z]{{3,}})"
)
# As likely part of the name itself (Delgado, Alvarez): on records only.
_PERHAPS_GLUED = re.compile(rf"(?:de[ls]?|d[iu]|la|le|van|von|[ae]l|o)({_HEAD})")
_SCOTS = re.compile(r"(ma?c)([a-z]{4,})")
# ae, oe, ue between consonants, as umlauts are written out: Mueller and Goetz, not Bauer, Rodriguez or
# Joel's Noel.
_PERHAPS_UMLAUT = re.compile(r"(?<![aeiouqg])([aou])e(?=[bcdfghjklmnpqrstvwxz])")


class Surname:
    """A surname field as filed: `words` with marks, `suffix`, and a former surname that stood behind née."""

    __slots__ = ("former", "suffix", "words")

    def __init__(self, words: Iterable[str] = (), suffix: str = "", former: str = "") -> None:
        self.words, self.suffix, self.former = list(words), suffix, former

    @property
    def marked(self) -> str:
        """The words with ä, ö, ü, å, one space between them."""
        return " ".join(self.words)

    @property
    def last(self) -> str:
        return without_marks(self.marked)


def read_surname(text: str) -> Surname:
    """The surname as filed (docs/matching.md §1.3)."""
    if text.isascii() and text.isalpha():
        name = text.lower()
        if is_placeholder(name):
            return Surname()
        return Surname([_one_saint(name)])
    folded, asides = split_asides(fold_marked(text).strip())
    former = suffix = ""
    for aside in asides:
        inside = [word for word in split_words(aside) if plain_word(word) not in _FORMERLY]
        if found := normalise_suffix("".join(map(plain_word, inside))):
            suffix = suffix or found
        else:
            former = former or " ".join(inside)
    words = split_words(_ELISION.sub(r"\1 ", folded))
    for place, word in enumerate(words[1:-1], 1):
        if plain_word(word) in _FORMERLY:
            words, former = words[:place], former or " ".join(words[place + 1 :])
            break
    while len(words) > 1 and (found := suffix_of_word(without_marks(words[-1]))):
        suffix = suffix or found
        words.pop()
    words = [marked_letters(word) for word in words]
    while len(words) > 1 and without_marks(words[0]) in TITLES:
        del words[0]
    words = _attached(words)
    return Surname(() if is_placeholder(without_marks("".join(words))) else words, suffix, former)


def split_surname(text: str) -> tuple[str, str]:
    """(words of the surname, generation suffix found behind them) of a surname as filed."""
    found = read_surname(text)
    return found.last, found.suffix


def _one_saint(word: str) -> str:
    glued = len(word) >= 9 and without_marks(word[:5]) == "saint"
    return f"st{word[5:]}" if glued else word


def _attached(words: list[str]) -> list[str]:
    """Saint, Mc and Mac joined to their names, the `y` of a double surname dropped."""
    last = len(words) - 1
    words = [word for place, word in enumerate(words) if place in (0, last) or word not in _AND]
    found: list[str] = []
    waiting = ""
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        prefix = _ATTACHED.get(without_marks(word), "")
        if prefix and not waiting and len(following) > 1:
            waiting = prefix
        else:
            found.append(_one_saint(waiting + word))
            waiting = ""
    return found


# --- spellings ---------------------------------------------------------------------------------------


def _units(last: str) -> list[str]:
    """The surnames of a double surname: each with the particles before it."""
    found: list[list[str]] = [[]]
    for word in last.split():
        found[-1].append(word)
        if len(word) >= MIN_PART_LETTERS and word not in PARTICLES:
            found.append([])
    rest = found.pop()
    if found:
        found[-1] += rest
    else:
        found = [rest]
    return ["".join(unit) for unit in found if unit]


def _heads(last: str) -> Iterator[tuple[str, bool]]:
    """Words that name a family, and whether an apostrophe or blank cut them off a single letter (O'Brien)."""
    previous = ""
    for word in last.split():
        if len(word) >= MIN_PART_LETTERS and word not in PARTICLES:
            yield word, previous in ("o", "d", "l")
        previous = word


def _unglued(pattern: re.Pattern[str], name: str) -> Iterator[str]:
    if found := pattern.fullmatch(name):
        yield next(group for group in found.groups() if group)


def asked_surnames(last: str, former_last: str) -> tuple[str, ...]:
    """Surnames beside the whole one that both sides write; no duplicates.

    The parts of the surname, then the former surname and its parts. A single part counts: `de la Cruz` must
    meet `Cruz`; so must `Delacruz`.
    """
    found: dict[str, None] = {}
    for name in (last, former_last):
        if " " in name:
            found.setdefault(name.replace(" ", ""))
            for word, cut in _heads(name):
                if not cut:
                    found.setdefault(word)
        else:
            found.setdefault(name)
        for word in name.split():
            for part in _unglued(_GLUED, word):
                found.setdefault(part)
    whole = last.replace(" ", "")
    return tuple(name for name in found if name and name != whole)


def recorded_surnames(last: str, former_last: str, marked: str, middle: str) -> tuple[str, ...]:
    """Surnames that only a record writes, beside the whole and the asked ones; the likely ones first."""
    whole = last.replace(" ", "")
    found: dict[str, None] = {}
    out = written_out(marked)
    found.setdefault(out.replace(" ", ""))
    if middle in _MISPLACED and whole:
        found.setdefault(middle + whole)
    for name in (last, former_last, out):
        units = _units(name) if " " in name else [name]
        if len(units) == 2:
            found.setdefault(units[1] + units[0])
        for word, cut in _heads(name) if " " in name else ():
            if cut:
                found.setdefault(word)
        for unit in units if len(units) > 1 else ():
            found.setdefault(unit)
        for unit in units:
            found.update(dict.fromkeys(_spellings(unit)))
    known = {whole, *asked_surnames(last, former_last)}
    return tuple(name for name in found if name and name not in known)


def spare_surnames(last: str, former_last: str) -> tuple[str, ...]:
    """Surnames worth asking where a slot would else hold a filler: Brien of O'Brien, Muller of Mueller."""
    found: dict[str, None] = {}
    for word, cut in _heads(last) if " " in last else ((last, False),):
        found.update(dict.fromkeys([word] if cut else _shorter(word)))
    known = {last.replace(" ", ""), *asked_surnames(last, former_last)}
    return tuple(name for name in found if name not in known)


def _spellings(name: str) -> Iterator[str]:
    """Other spellings of one surname: Mc and Mac, umlauts not written out, particles cut off."""
    if scots := _SCOTS.fullmatch(name):
        yield ("mac" if scots[1] == "mc" else "mc") + scots[2]
    yield from _shorter(name)


def _shorter(name: str) -> Iterator[str]:
    if "e" in name and (plain := _PERHAPS_UMLAUT.sub(r"\1", name)) != name:
        yield plain
    yield from _unglued(_PERHAPS_GLUED, name)
