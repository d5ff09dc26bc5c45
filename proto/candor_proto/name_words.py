"""The words of a name field: placeholders, suffixes, titles, nicknames in quotes (docs/matching.md §1.2).

Rules of this file:
- what is dropped or moved is decided by whole words of the folded text, and the last word left is never
  taken: `Ii` alone is a surname, `Major` alone a given name;
- a word without a letter is no word; nothing is guessed from capitals;
- a second reading finds nothing more to drop: normal forms are read as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from candor_proto.folding import fold, letters, marked_letters, without_marks


def word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Field usage (MATCHING.md §3 rule 5): first or last name unknown; no first, last, middle name; no middle
# initial. `Doe`, `Null` and `Na` are names that people bear, and no key consists of a name alone: they
# stay.
PLACEHOLDERS = word_set("""
unknown unk unkn unknwn fnu lnu mnu nfn nln nmn nmi nomiddlename nomiddleinitial nofirstname nolastname
noname nonamegiven none notapplicable notavailable notgiven notprovided notknown unavailable test testing
tbd anonymous redacted withheld deceased xx
""")
_WHOLE_PLACEHOLDERS = frozenset({"n/a", "n.a.", "n.a", "n-a", "#n/a"})
# Never a given name; `Major`, `Judge` and `Dean` are.
TITLES = word_set("""
mr mrs ms dr ofc ofcr officer sgt sergeant ssgt det detective lt lieut lieutenant cpl corporal capt captain
deputy dep trooper tpr patrolman sheriff constable cmdr commander rev
""")
# Generations only: a degree or a title (Esq, PhD) says nothing about which of two namesakes a person is.
_SUFFIXES = {
    "jr": "jr", "jnr": "jr", "junior": "jr",
    "sr": "sr", "snr": "sr", "senior": "sr",
    "ii": "ii", "2nd": "ii", "iii": "iii", "3rd": "iii", "iv": "iv", "4th": "iv", "v": "v", "5th": "v",
}  # fmt: skip
_WORD = re.compile(r"[a-z0-9'äöüå]*[a-zäöüå][a-z0-9'äöüå]*")
_HAS_LETTER = re.compile(r"[a-zäöüå]")
# "Bob", (Bob), or 'Bob' between blanks: what somebody is called, or an aside.
_ASIDE = re.compile(r"""["(\[]([^"()\[\]]*)["\])]|(?:(?<=\s)|^)'([^'\s]+)'(?=\s|$)""")


def is_placeholder(name: str) -> bool:
    """Whether a joined name says that nobody knows: a word of the list, or three and more of one letter."""
    one_letter = len(name) > 2 and name.count(name[0]) == len(name)
    return name in PLACEHOLDERS or (one_letter and name != "iii")


def normalise_suffix(text: str) -> str:
    """One of jr, sr, ii, iii, iv, v, or "" for anything else."""
    plain = re.sub(r"[^a-z0-9]+", "", fold(text))
    return _SUFFIXES.get(plain) or _SUFFIXES.get(letters(text), "")


def suffix_of_word(word: str) -> str:
    """The suffix that a word behind a name is. A lone V is more often an initial than a fifth."""
    found = normalise_suffix(word)
    return "" if found == "v" else found


def split_words(folded: str) -> list[str]:
    """The words: runs of letters, digits and apostrophes that hold a letter and are no placeholder."""
    if folded in _WHOLE_PLACEHOLDERS:
        return []
    return [word for word in _WORD.findall(folded) if not is_placeholder(letters(without_marks(word)))]


def split_asides(folded: str, *, alone: bool = False) -> tuple[str, list[str]]:
    """The text without what stands in quotes or brackets, and that.

    If nothing else has a letter, all of it is text, unless an aside may stand `alone`.
    """
    if not any(mark in folded for mark in "\"'(["):
        return folded, []
    asides = [found[1] or found[2] or "" for found in _ASIDE.finditer(folded)]
    rest = _ASIDE.sub(" ", folded)
    if not asides or not (alone or _HAS_LETTER.search(rest)):
        return " ".join([rest, *asides]) if asides else folded, []
    return rest, [aside for aside in asides if _HAS_LETTER.search(aside)]


@dataclass(frozen=True)
class GivenName:
    """A given or middle name field: `words` joined are the name; "" is what else did not stand there."""

    words: tuple[str, ...] = ()
    initial: str = ""
    called: str = ""
    suffix: str = ""

    @property
    def name(self) -> str:
        return "".join(self.words)


_NOBODY = GivenName()


def read_given(text: str, *, middle: bool = False) -> GivenName:
    """A given name as filed, or a middle name, whose field may hold a nickname alone (`"Bob"`).

    Single letters beside a longer word are initials, the first of which is told; all of them when there is no
    longer word (`J. R.`). Ranks and titles in front and a generation behind go, as long as a word is left.
    """
    if text.isascii() and text.isalpha():
        name = text.lower()
        return _NOBODY if is_placeholder(name) else GivenName((name,))
    folded, asides = split_asides(fold(text).strip(), alone=middle)
    words, suffix, called = split_words(folded), "", ""
    for aside in asides:
        joined = "".join(map(letters, split_words(aside)))
        if found := normalise_suffix(joined):
            suffix = suffix or found
        elif len(joined) > 1 and not is_placeholder(joined) and not called:
            called = joined
    plain = [(word, letters(word)) for word in words]
    longer = [pair for pair in plain if len(pair[1]) > 1]
    initials = [pair[1] for pair in plain if len(pair[1]) == 1]
    while len(longer) > 1 and longer[0][1] in TITLES:
        del longer[0]
    while len(longer) > 1 and (found := suffix_of_word(longer[-1][0])):
        suffix = suffix or found
        del longer[-1]
    kept = tuple(word for _filed, word in longer) if longer else tuple(initials)
    if is_placeholder("".join(kept)):
        kept = ()
    if not kept and not middle:
        kept, called = ((called,) if called else ()), ""
    return GivenName(
        words=kept,
        initial=initials[0] if longer and initials else "",
        called="" if called == "".join(kept) else called,
        suffix=suffix,
    )


def normalise_name(text: str) -> str:
    """The normal form of a given or middle name, or "" for a placeholder."""
    return read_given(text).name


def plain_word(word: str) -> str:
    """A folded word as matching compares it: a-z."""
    return without_marks(marked_letters(word))
