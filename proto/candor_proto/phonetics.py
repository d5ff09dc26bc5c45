"""Roots, sounds and skeletons of names in normal form (MATCHING.md §3): parts of match keys.

Rules of this file:
- what is written here is octets on the curve: a change of any result is a new scheme version;
- a lookup has one root, a record all that a lookup for the same person may ask (§3 "Two sides").
"""

from __future__ import annotations

import itertools

import jellyfish
import metaphone

from candor_proto.name_tables import CANONICAL_FORMS, FREQUENCY, NICKNAMES_OF


def canonical_forms(name: str) -> tuple[str, ...]:
    """`name` and the canonical forms it may be short for; the first is its root (§3 rule 4).

    Most frequent in the 1990 census first; ties to another form than the name itself, then alphabetical.
    """
    if not name:
        return ()
    return _by_frequency(name, {name, *CANONICAL_FORMS.get(name, ())})


def asked_root(name: str) -> str:
    """The root, which is all that a lookup says of a name's forms; "" for ""."""
    return canonical_forms(name)[0] if name else ""


def recorded_forms(name: str) -> tuple[str, ...]:
    """What a record says: its root, the name, the roots of its canonical forms and of its nicknames.

    Whoever asks for a name that the table joins to this one asks for one of these, in either direction: a
    lookup for Sandy (root Sandra) meets Alexander. The root comes first, the others from frequent to rare.
    """
    if not name:
        return ()
    near = (*CANONICAL_FORMS.get(name, ()), *NICKNAMES_OF.get(name, ()))
    root = asked_root(name)
    others = {name, *map(asked_root, near)} - {root}
    return (root, *_by_frequency(name, others))


def _by_frequency(name: str, forms: set[str]) -> tuple[str, ...]:
    return tuple(sorted(forms, key=lambda form: (-FREQUENCY.get(form, 0), form == name, form)))


def double_metaphone(name: str) -> str:
    """Primary code of Philips' double metaphone as in `Metaphone` 0.6; "" when it has none."""
    return str(metaphone.doublemetaphone(name)[0]) if name else ""


def soundex(name: str) -> str:
    """American soundex as in jellyfish: a letter and three digits."""
    return jellyfish.soundex(name).upper() if name else ""


def consonant_skeleton(name: str) -> str:
    """First letter, then the rest without a e i o u y h w; then runs collapsed."""
    kept = name[:1] + "".join(letter for letter in name[1:] if letter not in "aeiouyhw")
    return "".join(letter for letter, _run in itertools.groupby(kept))
