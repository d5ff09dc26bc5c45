"""Slips of the pen: what a typist, a scanner or an ear makes of a name or a number.

Every function takes lower-case text and returns text that differs from it where that is possible at all.
The kinds of slip and their shares are those seen in the development sets (data/README.md).
"""

from __future__ import annotations

import unicodedata

from tools.population.draw import Draw, Table

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_DIGITS = "0123456789"


def _neighbours() -> dict[str, str]:
    """The keys beside, above and below each letter of a US keyboard."""
    found = {}
    for number, row in enumerate(_ROWS):
        for at, key in enumerate(row):
            near = row[max(0, at - 1) : at] + row[at + 1 : at + 2]
            if number > 0:
                near += _ROWS[number - 1][at : at + 2]
            if number + 1 < len(_ROWS):
                near += _ROWS[number + 1][max(0, at - 1) : at + 1]
            found[key] = near
    return found


NEIGHBOURS = _neighbours()

# What a scanner reads for what was printed.
SCANNED = (
    ("m", "rn"), ("n", "ri"), ("d", "cl"), ("w", "vv"), ("e", "c"), ("c", "e"), ("h", "b"), ("b", "h"),
    ("l", "i"), ("i", "l"), ("g", "q"), ("f", "t"), ("u", "v"),
)  # fmt: skip
SCANNED_DIGITS = (("o", "0"), ("s", "5"), ("l", "1"))
_DIGIT_SHARE = 0.2
# What an ear writes for what was said.
SOUNDED = (
    ("ph", "f"), ("f", "ph"), ("ck", "k"), ("c", "k"), ("k", "c"), ("s", "z"), ("z", "s"), ("y", "i"),
    ("ie", "y"), ("y", "ie"), ("ea", "ee"), ("a", "e"), ("e", "a"), ("o", "e"), ("en", "on"), ("ll", "l"),
    ("tt", "t"), ("nn", "n"), ("th", "t"), ("sh", "sch"), ("j", "g"), ("ei", "ie"), ("er", "ar"),
)  # fmt: skip

# Letters that are no letter with a mark to Unicode.
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
)

_KEYS = Table((("exchange", 25), ("neighbour", 25), ("leave out", 19), ("double", 17), ("insert", 14)))


def keyed(draw: Draw, text: str) -> str:
    """One typing error: two letters exchanged, a neighbouring key, a letter left out, doubled or added."""
    if len(text) < 2:
        return text
    kind = _KEYS.pick(draw)
    # First letters are seldom mistyped.
    at = draw.below(len(text)) if draw.chance(0.3) else 1 + draw.below(len(text) - 1)
    letter = text[at]
    if kind == "exchange":
        at = max(at, 1)
        if text[at - 1] != text[at]:
            return text[: at - 1] + text[at] + text[at - 1] + text[at + 1 :]
        return text[:at] + text[at + 1 :]
    if kind == "leave out" and len(text) > 2:
        return text[:at] + text[at + 1 :]
    if kind == "double":
        return text[:at] + letter + text[at:]
    near = NEIGHBOURS.get(letter, "e")
    if kind == "insert":
        return text[:at] + draw.pick(near) + text[at:]
    return text[:at] + draw.pick(near) + text[at + 1 :]


def _replaced(draw: Draw, text: str, table: tuple[tuple[str, str], ...]) -> str:
    """`text` with one part replaced as one line of `table` says; unchanged if no line fits."""
    fitting = [(old, new) for old, new in table if old in text]
    if not fitting:
        return text
    old, new = draw.pick(fitting)
    places = [at for at in range(len(text)) if text.startswith(old, at)]
    at = draw.pick(places)
    return text[:at] + new + text[at + len(old) :]


def scanned(draw: Draw, text: str) -> str:
    """One confusion of a scanner; it may put a digit into a name."""
    return _replaced(draw, text, SCANNED_DIGITS if draw.chance(_DIGIT_SHARE) else SCANNED)


def sounded(draw: Draw, text: str) -> str:
    """One spelling that sounds alike."""
    return _replaced(draw, text, SOUNDED)


def cut(draw: Draw, text: str) -> str:
    """Cut short, as a form with few boxes does: four to six letters stay."""
    return text[: 4 + draw.below(3)]


def misdialled(draw: Draw, digits: str) -> str:
    """One wrong digit, or two neighbours exchanged, half each."""
    at = draw.below(len(digits) - 1)
    if draw.chance(0.5) and digits[at] != digits[at + 1]:
        return digits[:at] + digits[at + 1] + digits[at] + digits[at + 2 :]
    at = draw.below(len(digits))
    others = _DIGITS.replace(digits[at], "")
    return digits[:at] + draw.pick(others) + digits[at + 1 :]


def folded(name: str) -> str:
    """The name as a clerk without marks writes it: `peña` is `pena`, `đặng` is `dang`."""
    if name.isascii():
        return name
    letters = unicodedata.normalize("NFD", name.translate(_LETTERS))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def bare(name: str) -> str:
    """The letters a to z of the folded name: how the census table spells it."""
    return "".join(letter for letter in folded(name) if "a" <= letter <= "z")


def mangled(draw: Draw, name: str) -> str:
    """Each letter with a mark lost or made something else, as a file read in the wrong encoding has it."""
    instead = draw.pick(("?", "", "\ufffd"))
    return "".join(letter if letter.isascii() else instead for letter in name)
