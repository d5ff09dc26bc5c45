"""An owner that seals what it should not, and a hub that keeps or changes what was sealed."""

from __future__ import annotations

from tests.byzantine import owner
from tests.byzantine.case import Case, Covered, Liar, Play, Proved
from tests.byzantine.owner import Spoil, spoiling
from tests.byzantine.world import ROW, World

SECTION = "index"


def asked_after(spoil: Spoil) -> Play:
    """bravo publishes the record spoilt; alpha asks about the officer."""

    async def play(world: World) -> None:
        with spoiling("bravo", spoil):
            await world.fed.file(world.bravo, [ROW])
        await world.fed.settled()
        await world.begin()
        await world.ask()
        await world.settle()

    return play


def local(name: str, does: str, spoil: Spoil, kind: str = "") -> Case:
    """A local failure: a miss, of which nothing shows; what a person can prove of it in the end."""
    miss = Covered("complete: true", overall="NO_RECORD")
    expect = Proved(kind, shown=miss) if kind else miss
    return Case(
        name,
        Liar.OWNER,
        does,
        expect,
        asked_after(spoil),
        SECTION,
        local=True,
        no_record=True,
        prepared=False,
    )


def shown(name: str, does: str, spoil: Spoil, words: str, overall: str) -> Case:
    """What the owner did to its own record shows in the result."""
    expect = Covered(words, overall=overall)
    return Case(name, Liar.OWNER, does, expect, asked_after(spoil), SECTION, prepared=False)


LOCAL = (
    local(
        "noise under good tags",
        "seals noise under the tags of one person's keys",
        owner.garble_entries,
        "malformed-entry",
    ),
    local("garbage shares", "puts noise where the shares of one person's record stand", owner.garble_shares),
    local(
        "one garbage share among good ones",
        "puts noise where the shares of one of a person's keys stand",
        owner.garble_one_share,
        "garbage-shares",
    ),
    local(
        "shares of another secret",
        "puts the shares of a secret that opens nothing into one person's entries",
        owner.shares_of_another_polynomial,
    ),
    local(
        "entries for a blob that is not there", "lets one person's entries name no blob", owner.name_no_blob
    ),
    local(
        "garbage blob", "seals noise under a blob's id and commitment", owner.garble_blob, "malformed-blob"
    ),
    local(
        "a blob committed to another key",
        "writes a commitment into a blob that no secret fits",
        owner.commit_to_another_key,
    ),
    local(
        "a blob that opens to something else",
        "seals octets that are no label, under the right secret",
        owner.malformed_plaintext,
        "malformed-blob",
    ),
    local(
        "field tags out of order",
        "lets the order of a label's tags say something",
        owner.unsorted_tags,
        "malformed-blob",
    ),
    local("a record of no kind", "writes a kind into a label that does not exist", owner.unknown_kind),
    local(
        "a weak label that opens alone",
        "puts two shares into the entry of a label that weighs one, and takes the other labels away",
        owner.overweight_label,
    ),
    local(
        "withdrawn in the segment that publishes it",
        "puts a record's marker beside the record: its index says that it holds nothing",
        owner.marked_withdrawn,
    ),
    local("expired when it is published", "lets a label expire in 1970", owner.expired),
)

SHOWN = (
    shown(
        "one garbage entry among good ones",
        "spoils one of a person's entries, so that only who asks for that key is told apart",
        owner.garble_one_entry,
        "complete: true",
        "MATCH",
    ),
    shown(
        "wrong field tags",
        "fills a label with tags of nobody's fields, so that everything seems to differ",
        owner.wrong_field_tags,
        "differing",
        "MATCH",
    ),
    shown(
        "a presence bitmap of zeros",
        "claims that the record holds no field that could be compared",
        owner.wrong_presence,
        "not_known",
        "MATCH",
    ),
)

CASES = (*LOCAL, *SHOWN)
