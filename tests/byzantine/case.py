"""One case: an attack in words, who commits it, and the one outcome that is allowed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.byzantine.world import World


class Liar(Enum):
    """Who is not honest; the value is how the documentation says it."""

    HUB = "hub"
    OWNER = "owner"
    ASKER = "asker"
    MEMBER = "member"
    WITNESS = "witness"
    HUB_AND_OWNER = "hub and owner"
    HUB_AND_WITNESSES = "hub and witnesses"
    THIEF = "thief of a TLS key"

    def may_be_accused(self) -> frozenset[str]:
        """Names under which evidence may accuse: nobody else's is ever to be found."""
        return {
            Liar.HUB: frozenset({"hub"}),
            Liar.OWNER: frozenset({"bravo"}),
            Liar.ASKER: frozenset({"alpha"}),
            Liar.MEMBER: frozenset({"charlie"}),
            Liar.WITNESS: frozenset({"charlie"}),
            Liar.HUB_AND_OWNER: frozenset({"hub", "bravo"}),
            Liar.HUB_AND_WITNESSES: frozenset({"hub", "bravo", "charlie"}),
            Liar.THIEF: frozenset[str](),
        }[self]

    def parties(self) -> frozenset[str]:
        """The nodes whose own code may be made to lie: nothing is asked of their databases."""
        return self.may_be_accused() - {"hub"}


@dataclass(frozen=True)
class Refused:
    """Somebody honest refused it by this error, and nothing that counts was stored because of it."""

    code: str
    by: str = "alpha"
    # Besides what accounts for the refusal itself (`world.ACCOUNTS`): tables that may have changed.
    may_change: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Covered:
    """A person sees it: the result is not "no record", and what is shown holds these words.

    `overall` is the result of the lookup that the case makes; empty when it makes none.
    """

    shown: str
    overall: str = "INCOMPLETE"
    where: str = "lookups show"
    at: str = "alpha"


@dataclass(frozen=True)
class Proved:
    """Evidence of this kind against the liar, made by itself at `by`, accepted by `candor-verify`.

    Until then, or besides, the case is `shown`: a local failure (§7.6) waits for the calendar digest and for
    a person, and shows nothing before.
    """

    kind: str
    by: str = "alpha"
    shown: Covered | None = None


Expected = Refused | Covered | Proved
Play = Callable[["World"], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """A row of the table. `local`: a local failure (§7.6), of which nothing may show.

    `no_record`: the result may be "no record", because that is the truth: the case makes no lookup about
    somebody who is on file, or the owner's index, whole and signed, says so itself.
    """

    name: str
    liar: Liar
    does: str
    expect: Expected
    play: Play
    section: str
    local: bool = False
    no_record: bool = False
    # Whether bravo's record is published, whole and well, before the case begins.
    prepared: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    # Cases of one name here are played one after the other in one scene: what is refused leaves nothing.
    together: str = ""

    @property
    def ident(self) -> str:
        return self.name.replace(" ", "-").replace(",", "").replace("'", "")
