"""Roots, sounds and skeletons of names in normal form (MATCHING.md §3): parts of match keys.

What is written here is octets on the curve: a change of any result is a new scheme version.
"""

from __future__ import annotations

import itertools

import jellyfish
import metaphone

from candor_proto.name_tables import CANONICAL_FORMS, FREQUENCY


def canonical_forms(name: str) -> tuple[str, ...]:
    """`name` and the canonical forms it may be short for; the first is its root (§3 rule 4).

    Most frequent in the 1990 census first; ties to another form than the name itself, then alphabetical.
    """
    if not name:
        return ()
    forms = {name, *CANONICAL_FORMS.get(name, ())}
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
