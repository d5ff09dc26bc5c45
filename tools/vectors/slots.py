"""Inputs of the blinded function and the slots of a lookup (docs/protocol.md §5.3-§5.5; matching.md §5)."""

from __future__ import annotations

from dataclasses import fields as fields_of
from dataclasses import replace
from typing import Any

from candor_proto.field_codes import PersonCodes, Sounds
from candor_proto.ids import KeyClass, LookupShape
from candor_proto.matchkeys import _inputs, _surnames, check_plan, filler_input, octets, plan_lookup
from candor_proto.normalise import Particulars, Person, normalise
from candor_proto.scheme import CURRENT, Label, Scheme
from candor_proto.statements import cost
from tools.vectors.book import Book, Given, operation
from tools.vectors.curve import CLASSES
from tools.vectors.draws import draw
from tools.vectors.shapes import OCTETS, TEXT, U8, U32, fields, listed, one_of

MIKE = Particulars(
    first="Mike",
    middle="Lee",
    last="Schmidt",
    birth_date="1980-11-02",
    ssn4="4071",
    sex="M",
    post_state="MA",
    post_id="328139",
)
_KEY = fields(label=TEXT, values=listed(TEXT))
_KEYS = fields(whole=listed(_KEY), others=listed(_KEY), spare=listed(_KEY), reserves=listed(_KEY))
_INPUTS = fields(W=listed(OCTETS), M=listed(OCTETS), C=listed(OCTETS))


@operation(
    "input",
    "5.4",
    "the string on the curve of a label and its values",
    {"scheme_version": U8, "label": TEXT, "values": listed(TEXT)},
    {"input": OCTETS},
)
def _input(given: Given) -> dict[str, Any]:
    scheme = _scheme(given["scheme_version"])
    return {"input": octets(given["label"], given["values"], scheme).hex()}


def _scheme(version: int) -> Scheme:
    labels = CURRENT.match_labels, CURRENT.code_labels
    own = [tuple(replace(label, version=version) for label in some) for some in labels]
    return Scheme(version, own[0], own[1], CURRENT.threshold)


@operation(
    "filler",
    "5.5",
    "the string that fills a slot, counted from 0 within its class, under the filler `seed`",
    {"scheme_version": U8, "seed": OCTETS, "class": one_of("W", "M", "C"), "slot": U8},
    {"input": OCTETS},
)
def _filler(given: Given) -> dict[str, Any]:
    seed = bytes.fromhex(given["seed"])
    made = filler_input(seed, CLASSES[given["class"]], given["slot"], _scheme(given["scheme_version"]))
    return {"input": made.hex()}


@operation(
    "plan",
    "5.5",
    "what is asked for a person, lookup by lookup, each class slot by slot. `keys` are what matching.md "
    "makes of the "
    "`particulars`, each in the order of its lists: of the whole surname, of the other surnames (surname by "
    "surname), of "
    "the spare ones, and under the reserve labels. Who does not read matching.md §1 and §2 takes the keys "
    "from here",
    {
        "scheme_version": U8,
        "particulars": {"type": "object", "additionalProperties": TEXT},
        "keys": _KEYS,
        "shape": one_of(1, 2),
        "filler_seed": OCTETS,
        "least_lookups": U8,
    },
    {"lookups": listed(_INPUTS)},
)
def _plan(given: Given) -> dict[str, Any]:
    person = normalise(Particulars(**given["particulars"]))
    assert keys_of(person) == given["keys"], "the keys are those of the particulars"
    plans = plan_lookup(
        person,
        LookupShape(given["shape"]),
        bytes.fromhex(given["filler_seed"]),
        _scheme(given["scheme_version"]),
        given["least_lookups"],
    )
    return {
        "lookups": [
            {
                key_class.letter: [slot.input.hex() for slot in plan.of_class(key_class)]
                for key_class in KeyClass
            }
            for plan in plans
        ]
    }


@operation(
    "check-plan",
    "7.10",
    "whether `inputs`, class after class, are lookup `number` of this person",
    {
        "particulars": {"type": "object", "additionalProperties": TEXT},
        "keys": _KEYS,
        "shape": one_of(1, 2),
        "filler_seed": OCTETS,
        "number": U8,
        "inputs": listed(OCTETS),
    },
    {},
)
def _check_plan(given: Given) -> dict[str, Any]:
    check_plan(
        normalise(Particulars(**given["particulars"])),
        LookupShape(given["shape"]),
        bytes.fromhex(given["filler_seed"]),
        [bytes.fromhex(value) for value in given["inputs"]],
        given["number"],
    )
    return {}


@operation(
    "lookup-cost",
    "11.1",
    "the elements that a lookup takes of a quota, by class",
    {"shape": one_of(1, 2), "persons": U8},
    {"W": U32, "M": U32, "C": U32},
)
def _lookup_cost(given: Given) -> dict[str, Any]:
    taken = cost(LookupShape(given["shape"]), given["persons"])
    return {key_class.letter: taken[key_class] for key_class in KeyClass}


def read_input(value: bytes) -> dict[str, Any]:
    """Label and values of an input."""
    at = 2 + value[1]
    label, count = value[2:at].decode(), value[at]
    at += 1
    values = []
    for _ in range(count):
        length = int.from_bytes(value[at : at + 2], "big")
        values.append(value[at + 2 : at + 2 + length].decode())
        at += 2 + length
    return {"label": label, "values": values}


def keys_of(person: Person) -> dict[str, list[dict[str, Any]]]:
    """What a lookup may ask for a person, before it is put into slots; no key twice."""
    sounds = Sounds()
    slotted = [label for key_class in KeyClass for label in CURRENT.class_labels[key_class]]
    known: set[bytes] = set()

    def asked(surname: str, labels: list[Label]) -> list[dict[str, Any]]:
        codes = PersonCodes(person, [surname] if surname else [], sounds, record=False)
        found = [value for label in labels for value in _inputs(label, codes) if value not in known]
        known.update(found)
        return [read_input(value) for value in found]

    return {
        "whole": asked(person.surname, slotted),
        "others": [key for name in _surnames(person)[1:] for key in asked(name, slotted)],
        "spare": [key for name in person.spare_surnames for key in asked(name, slotted)],
        "reserves": asked(person.surname, list(CURRENT.reserve_labels)),
    }


def filed(particulars: Particulars) -> dict[str, str]:
    """The fields that are not empty."""
    found = {one.name: getattr(particulars, one.name) for one in fields_of(particulars)}
    return {name: value for name, value in found.items() if value}


def book() -> Book:
    found = Book(
        "slots",
        "Strings on the curve, fillers, and which key stands in which slot of which lookup.",
        ("5.3", "5.4", "5.5", "7.10", "11.1"),
        "Particulars invented; keys and slots by candor_proto.matchkeys (scheme version 3). More people, and "
        "what records "
        "publish for them, in tests/vectors/matchkeys.json; normal forms in tests/vectors/normalise.json.",
    )
    version = CURRENT.version
    for name, label, values in (
        ("one_value", "K:P", ["MA328139"]),
        ("two_values", "K:F+S", ["mike", "4071"]),
        ("code", "C:SW", ["mike/schmidt"]),
        ("no_value", "K:x", []),
        ("beyond_ascii", "C:F", ["\u00e9"]),
    ):
        found.case(f"input_{name}", "input", {"scheme_version": version, "label": label, "values": values})
    found.case(
        "input_of_another_version", "input", {"scheme_version": 255, "label": "K:P", "values": ["MA328139"]}
    )
    found.case(
        "input_label_too_long",
        "input",
        {"scheme_version": version, "label": "K:" + "x" * 254, "values": []},
        refuse="limit_exceeded",
    )
    found.case(
        "input_too_many_values",
        "input",
        {"scheme_version": version, "label": "K:x", "values": ["a"] * 256},
        refuse="limit_exceeded",
    )
    seed = draw("filler seed", 32).hex()
    for letter, slot in (("W", 0), ("M", 11), ("C", 23)):
        given = {"scheme_version": version, "seed": seed, "class": letter, "slot": slot}
        found.case(f"filler_{letter.lower()}_{slot}", "filler", given)
    _plans(found, seed)
    for shape in (1, 2):
        for persons in (0, 1, 64):
            given = {"shape": shape, "persons": persons}
            found.case(f"cost_of_shape_{shape}_persons_{persons}", "lookup-cost", given)
    return found


def _plans(found: Book, seed: str) -> None:
    obrien = Particulars(
        first="Ann", last="O'Brien-Vanderberg", former_last="Castillo Delgado", birth_date="1979-03-1"
    )
    people = {
        "everything_known": (MIKE, 1),
        "no_last_four": (replace(MIKE, ssn4=""), 1),
        "several_surnames": (obrien, 1),
        "three_lookups": (
            replace(MIKE, last="Anderson-Baker Castillo Delgado", former_last="Eriksen-Fuentes"),
            1,
        ),
        "surname_only": (Particulars(last="Schmidt"), 1),
        "nobody": (Particulars(), 1),
        "a_second_lookup_of_fillers": (MIKE, 2),
    }
    for name, (particulars, least) in people.items():
        for shape in (1, 2):
            if shape == 1 and name not in ("everything_known", "several_surnames"):
                continue
            given = {
                "scheme_version": CURRENT.version,
                "particulars": filed(particulars),
                "keys": keys_of(normalise(particulars)),
                "shape": shape,
                "filler_seed": seed,
                "least_lookups": least,
            }
            found.case(f"plan_{name}_{'screening' if shape == 1 else 'detailed'}", "plan", given)
    person = normalise(MIKE)
    plan = plan_lookup(person, LookupShape.SCREENING, bytes.fromhex(seed))[0]
    inputs = [slot.input.hex() for slot in plan.slots]
    given = {
        "particulars": filed(MIKE),
        "keys": keys_of(person),
        "shape": 1,
        "filler_seed": seed,
        "number": 0,
        "inputs": inputs,
    }
    found.case("check_holds", "check-plan", given)
    fillers = [filler_input(bytes.fromhex(seed), KeyClass.WEAK, slot).hex() for slot in range(4)]
    wrong_seed = filler_input(draw("another seed", 32), KeyClass.MATCH, 11).hex()
    empty = {**given, "particulars": {}, "keys": keys_of(normalise(Particulars()))}
    other = octets("K:F+S", ["john", "4071"]).hex()
    for name, change, comment in (
        ("another_persons_key", {"inputs": [*inputs[:3], other, *inputs[4:]]}, ""),
        ("filler_where_a_key_belongs", {"inputs": [fillers[0], *inputs[1:]]}, ""),
        ("two_slots_swapped", {"inputs": [inputs[1], inputs[0], *inputs[2:]]}, ""),
        ("one_input_too_few", {"inputs": inputs[:-1]}, ""),
        (
            "another_seed",
            {**empty, "inputs": [*fillers, *inputs[4:15], wrong_seed]},
            "a filler of another seed",
        ),
        ("lookup_number_too_high", {"number": 3}, "a person is asked about in at most three lookups"),
    ):
        found.case(
            f"check_{name}", "check-plan", {**given, **change}, comment=comment, refuse="commitment_mismatch"
        )
