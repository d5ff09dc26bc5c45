"""Openings as files: what a logged lookup asked, for one auditor (docs/protocol.md §18.2, §18.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime

from candor_proto.accountability.file_form import (
    Fields,
    LoggedPart,
    Value,
    encode_file,
    logged_value,
    octets_list_value,
    parse_file,
    part_value,
)
from candor_proto.accountability.trust import Trust, signed_lookup
from candor_proto.exchange import Paperwork
from candor_proto.ids import FederationName, LookupId, NodeId
from candor_proto.matchkeys import LookupPlan
from candor_proto.normalise import Particulars
from candor_proto.opening import Opening, open_lookup
from candor_proto.sealing import DisclosureKey, open_unpadded, seal_unpadded
from candor_proto.signing import SignedStatement
from candor_proto.statements import Lookup
from candor_proto.tlog.base64lines import encode_octets

FORMAT = "candor-opening/1"
SEALED_FORMAT = "candor-sealed-opening/1"
KEY_FORMAT = "candor-auditor-key/1"
MAX_PLANS = 256
_SALTS = ("case", "consent", "officer", "filler")
_PARTICULARS = tuple(field.name for field in fields(Particulars))
_SECRET_OCTETS = 32


@dataclass(frozen=True)
class CheckedOpening:
    """A lookup that is explained slot by slot; `openings` and `plans` in the order of its persons."""

    lookup: Lookup
    openings: tuple[Opening, ...] = field(repr=False)
    plans: tuple[LookupPlan, ...] = field(repr=False)
    witnessed_at: datetime

    def cases(self) -> tuple[str, ...]:
        """The case of each person that was asked about; persons that only fill the lookup up have none."""
        pairs = zip(self.openings, self.plans, strict=True)
        return tuple(opening.paperwork.case for opening, plan in pairs if not _fills_up(opening, plan))

    def cases_not_in(self, register: Iterable[str]) -> tuple[str, ...]:
        """The cases that do not stand in the register: each is a finding (§18.3)."""
        known = {case.strip() for case in register}
        return tuple(case for case in self.cases() if case.strip() not in known or not case.strip())


def _fills_up(opening: Opening, plan: LookupPlan) -> bool:
    papers = opening.paperwork
    nothing_said = not (papers.case or papers.consent or papers.officer)
    return nothing_said and all(slot.label is None for slot in plan.slots)


@dataclass(frozen=True, repr=False)
class OpeningFile:
    """What the asker shows: all persons of one of its lookups. Never printed."""

    federation: FederationName
    asker: NodeId
    lookup: SignedStatement
    persons: tuple[Opening, ...]
    asker_member: LoggedPart
    request_logged: LoggedPart

    def __repr__(self) -> str:
        return f"OpeningFile({self.asker}, <redacted>)"

    def encode(self) -> bytes:
        """The file."""
        return encode_file(
            {
                "format": FORMAT,
                "federation": str(self.federation),
                "asker": str(self.asker),
                "lookup": part_value(self.lookup),
                "persons": [_person_value(person) for person in self.persons],
                "asker_member": logged_value(self.asker_member),
                "request_logged": logged_value(self.request_logged),
            }
        )

    def check(self, trust: Trust) -> CheckedOpening:
        """All of §18.3 but the register, plans computed anew from the particulars (§7.10).

        Raises CommitmentMismatch naming the first slot or commitment that differs, NotLogged for a lookup
        that the entry shown does not name, or whatever a part raises.
        """
        key = trust.signing_key(self.asker_member, self.asker, self.federation)
        lookup = signed_lookup(self.lookup, self.federation, self.asker, key)
        trust.request_position(self.request_logged, self.lookup, self.federation)
        plans = open_lookup(lookup, self.persons)
        witnessed_at = trust.policy.time_of_witness(self.request_logged.proof.signed, trust.now)
        return CheckedOpening(lookup, self.persons, plans, witnessed_at)


def parse_opening(octets: bytes) -> OpeningFile:
    """Raises MalformedMessage, NotCanonical or LimitExceeded; nothing in it is checked yet."""
    inside = parse_file(octets)
    inside.expect("format", FORMAT)
    opening = OpeningFile(
        federation=inside.federation(),
        asker=inside.node("asker"),
        lookup=inside.part("lookup"),
        persons=inside.list_of("persons", _read_person),
        asker_member=inside.logged("asker_member"),
        request_logged=inside.logged("request_logged"),
    )
    inside.finish()
    return opening


def _person_value(opening: Opening) -> Value:
    papers = opening.paperwork
    return {
        "plan_number": opening.plan_number,
        "case": papers.case,
        "consent": papers.consent,
        "officer": papers.officer,
        "salts": {name: encode_octets(papers.salts[name]) for name in _SALTS},
        "filler_seed": encode_octets(papers.filler_seed),
        "particulars": asdict(opening.particulars),
        "inputs": octets_list_value(opening.inputs),
        "blinds": octets_list_value(opening.blinds),
    }


def _read_person(inside: Fields) -> Opening:
    def read_salts(salts: Fields) -> dict[str, bytes]:
        return {name: salts.octets(name, _SECRET_OCTETS) for name in _SALTS}

    return Opening(
        plan_number=inside.number("plan_number", MAX_PLANS),
        paperwork=Paperwork(
            case=inside.text("case"),
            consent=inside.text("consent"),
            officer=inside.text("officer"),
            salts=inside.fields("salts", read_salts),
            filler_seed=inside.octets("filler_seed", _SECRET_OCTETS),
        ),
        particulars=Particulars(**inside.texts("particulars", _PARTICULARS)),
        inputs=inside.octets_list("inputs"),
        blinds=inside.octets_list("blinds", _SECRET_OCTETS),
    )


# --- for one auditor ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AuditorKey:
    """To whom openings are sealed. `auditor` is formed like a node id."""

    federation: FederationName
    auditor: NodeId
    key: bytes = field(repr=False)

    def encode(self) -> bytes:
        """The file that an auditor gives to agencies."""
        return encode_file(
            {
                "format": KEY_FORMAT,
                "federation": str(self.federation),
                "auditor": str(self.auditor),
                "key": encode_octets(self.key),
            }
        )


def parse_auditor_key(octets: bytes) -> AuditorKey:
    """Raises MalformedMessage, NotCanonical or LimitExceeded, also for a key that is no good."""
    inside = parse_file(octets)
    inside.expect("format", KEY_FORMAT)
    key = AuditorKey(inside.federation(), inside.node("auditor"), inside.octets("key"))
    inside.finish()
    return key


@dataclass(frozen=True)
class SealedOpening:
    """An opening as it travels; only its auditor reads what is in it."""

    federation: FederationName
    asker: NodeId
    auditor: NodeId
    lookup_id: LookupId
    sealed: bytes = field(repr=False)

    def encode(self) -> bytes:
        """The file."""
        return encode_file(
            {
                "format": SEALED_FORMAT,
                "federation": str(self.federation),
                "asker": str(self.asker),
                "auditor": str(self.auditor),
                "lookup": str(self.lookup_id),
                "sealed": encode_octets(self.sealed),
            }
        )

    def open(self, key: DisclosureKey) -> bytes:
        """The opening's file; raises SealedDataInvalid for another key, or under other names."""
        return open_unpadded(
            self.sealed, key, _bound(self.federation, self.asker, self.auditor, self.lookup_id)
        )


def seal_opening(opening: OpeningFile, key: AuditorKey) -> SealedOpening:
    """Raises MalformedMessage for a key that is no good."""
    lookup_id = Lookup.decode(opening.lookup.body).lookup_id
    names = opening.federation, opening.asker, key.auditor, lookup_id
    return SealedOpening(*names, seal_unpadded(opening.encode(), key.key, _bound(*names)))


def parse_sealed_opening(octets: bytes) -> SealedOpening:
    """Raises MalformedMessage, NotCanonical or LimitExceeded."""
    inside = parse_file(octets)
    inside.expect("format", SEALED_FORMAT)
    sealed = SealedOpening(
        inside.federation(),
        inside.node("asker"),
        inside.node("auditor"),
        LookupId.parse(inside.text("lookup")),
        inside.octets("sealed"),
    )
    inside.finish()
    return sealed


def _bound(
    federation: FederationName, asker: NodeId, auditor: NodeId, lookup_id: LookupId
) -> tuple[bytes, ...]:
    """Federation, kind, envelope id, sender, recipient and binding, as §4.3 lists them."""
    names = (str(federation), "audit-opening", lookup_id.value, str(asker), f"auditor/{auditor}", "")
    return tuple(name.encode() if isinstance(name, str) else name for name in names)
