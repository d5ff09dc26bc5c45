"""Vectors of §2 to §5: names, encoding, signatures, the curve, strings on it."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from candor_verify import inputs, names, octets, ristretto, voprf
from candor_verify.errors import Malformed
from candor_verify.octets import Reader, u8, u32
from candor_verify.statements import Part

CLASSES = {"W": 1, "M": 2, "C": 3}


def resolved(value: Any, material: Mapping[str, Any]) -> Any:
    """JSON in which octets by reference or as text are hexadecimal, and base64 of octets is written out."""
    if isinstance(value, list):
        return [resolved(each, material) for each in value]
    if not isinstance(value, dict):
        return value
    keys = value.keys()
    if "material" in value and keys <= {"material", "edits"}:
        found = bytes.fromhex(resolved(material[value["material"]], material))
        for edit in value.get("edits", ()):
            at = edit["at"]
            found = found[:at] + bytes.fromhex(edit["insert"]) + found[at + edit["remove"] :]
        return found.hex()
    if keys == {"text"} and isinstance(value["text"], str):
        return value["text"].encode().hex()
    if keys == {"base64"}:
        return base64.b64encode(bytes.fromhex(resolved(value["base64"], material))).decode()
    if keys == {"join"}:
        return "".join(_joined(each, material) for each in value["join"])
    return {key: resolved(each, material) for key, each in value.items()}


def _joined(value: Any, material: Mapping[str, Any]) -> str:
    """A piece of a text: text as it is, or octets."""
    if isinstance(value, dict) and value.keys() == {"base64"}:
        return str(resolved(value, material))
    return value if isinstance(value, str) else bytes.fromhex(resolved(value, material)).decode()


class Given:
    """The fields of a case."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def raw(self, key: str) -> Any:
        return self.value[key]

    def octets(self, key: str) -> bytes:
        return bytes.fromhex(self.value[key])

    def octets_list(self, key: str) -> list[bytes]:
        return [bytes.fromhex(each) for each in self.value[key]]

    def number(self, key: str) -> int:
        """Also one in decimal text."""
        return int(self.value[key])

    def text(self, key: str) -> str:
        return str(self.value[key])

    def object(self, key: str) -> Given:
        return Given(self.value[key])

    def part(self, key: str) -> Part:
        inner = self.object(key)
        return Part(inner.octets("body"), inner.octets("signature"))


Outcome = dict[str, object]


def hexes(values: Iterable[bytes]) -> list[str]:
    """Octets as the vectors write them."""
    return [each.hex() for each in values]


# --- §2 ------------------------------------------------------------------------------------------------

_IDENTIFIERS: dict[str, Callable[[str], str]] = {
    "federation": names.check_federation,
    "node": names.check_node,
    "ori": names.check_ori,
}


def identifier(given: Given) -> Outcome:
    kind = given.text("kind")
    check = _IDENTIFIERS.get(kind) or _IDENTIFIERS[kind.partition("_")[0]]
    check(given.text("text"))
    return {}


def certificate_name(given: Given) -> Outcome:
    return {"uri": names.uri_of(given.text("federation"), given.text("role"), given.raw("id"))}


def read_certificate_name(given: Given) -> Outcome:
    federation, role, name = names.read_uri(given.text("uri"))
    return {"federation": federation, "role": role, "id": name}


# --- §3 ------------------------------------------------------------------------------------------------


def encode(given: Given) -> Outcome:
    label = given.raw("label")
    encoded = b"" if label is None else octets.domain_label(label)
    for kind, value in zip(given.raw("types"), given.raw("values"), strict=True):
        encoded += _encoded(kind, value)
    return {"octets": encoded.hex()}


def _encoded(kind: Mapping[str, Any], value: Any) -> bytes:
    match kind["type"]:
        case "u8" | "u16" | "u32" | "u64" | "time" as name:
            width = {"u8": 1, "u16": 2, "u32": 4}.get(name, 8)
            number = int(value)
            if not 0 <= number < 256**width or (name == "time" and number > octets.MAX_MILLISECONDS):
                raise Malformed("A number does not fit.")
            return number.to_bytes(width, "big")
        case "text":
            return octets.text(unicodedata.normalize("NFC", value))
        case "octets":
            return octets.sized(bytes.fromhex(value))
        case "fixed":
            fixed = bytes.fromhex(value)
            if len(fixed) != kind["octets"]:
                raise Malformed("A field of a fixed length has another one.")
            return fixed
        case _:
            items = [
                b"".join(_encoded(each, part) for each, part in zip(kind["of"], item, strict=True))
                for item in value
            ]
            return u32(len(items)) + b"".join(items)


def decode(given: Given) -> Outcome:
    reader = Reader(given.octets("octets"), given.raw("label"))
    values = [_decoded(kind, reader) for kind in given.raw("types")]
    reader.end()
    return {"values": values}


def _decoded(kind: Mapping[str, Any], reader: Reader) -> object:
    match kind["type"]:
        case "u8":
            return reader.u8()
        case "u16":
            return reader.u16()
        case "u32":
            return reader.u32()
        case "u64":
            return str(reader.u64())
        case "time":
            return str(reader.time())
        case "text":
            return reader.text(kind["most"])
        case "octets":
            return reader.octets(kind["most"]).hex()
        case "fixed":
            return reader.exactly(kind["octets"]).hex()
        case _:
            return reader.items(lambda each: [_decoded(part, each) for part in kind["of"]], kind["most"])


def encode_back(expected: Given, given: Given) -> Outcome:
    both = Given({**given.value, "octets": expected.raw("octets")})
    return {"label": given.raw("label"), "types": given.raw("types"), **decode(both)}


def domain_label(given: Given) -> Outcome:
    return {"octets": octets.domain_label(given.text("label")).hex()}


def hash_(given: Given) -> Outcome:
    return {"digest": octets.digest(given.text("label"), *given.octets_list("parts")).hex()}


def kdf(given: Given) -> Outcome:
    derived = octets.derive(
        given.octets("ikm"), given.text("label"), given.octets("info"), given.number("octets")
    )
    return {"output": derived.hex()}


# --- §4 ------------------------------------------------------------------------------------------------


def sign(given: Given) -> Outcome:
    key = Ed25519PrivateKey.from_private_bytes(given.octets("seed"))
    signed = octets.domain_label("signature") + octets.text(given.text("context"))
    signed += octets.sized(given.octets("body"))
    return {
        "public_key": key.public_key().public_bytes_raw().hex(),
        "signed": signed.hex(),
        "signature": key.sign(signed).hex(),
    }


def verify(given: Given) -> Outcome:
    part = Part(given.octets("body"), given.octets("signature"))
    part.verify(given.text("context"), given.octets("public_key"), "the vector")
    return {}


def seal_info(given: Given) -> Outcome:
    parts = [given.text("federation").encode(), given.text("kind").encode(), given.octets("envelope_id")]
    parts += [given.text("sender").encode(), given.text("recipient").encode(), given.octets("binding")]
    return {"info": octets.digest("seal", *parts).hex()}


# --- §5 ------------------------------------------------------------------------------------------------


def element(given: Given) -> Outcome:
    ristretto.decode(given.octets("octets"))
    return {}


def scalar(given: Given) -> Outcome:
    ristretto.decode_scalar(given.octets("octets"))
    return {}


def blind(given: Given) -> Outcome:
    return {"element": voprf.blinded(given.octets("input"), given.octets("blind")).hex()}


def derive_key_pair(given: Given) -> Outcome:
    secret, public = voprf.derive_key_pair(given.octets("seed"), given.octets("info"))
    return {"secret": secret.hex(), "public": public.hex()}


def epoch_key(given: Given) -> Outcome:
    info = octets.domain_label("epoch-key") + octets.text(given.text("federation"))
    info += octets.text(given.text("node")) + u32(given.number("epoch")) + u8(CLASSES[given.text("class")])
    secret, public = voprf.derive_key_pair(given.octets("seed"), info)
    return {"info": info.hex(), "secret": secret.hex(), "public": public.hex()}


def evaluate(given: Given) -> Outcome:
    point = voprf.hash_to_group(given.octets("input"))
    product = ristretto.multiply(ristretto.decode_scalar(given.octets("secret")), point)
    return {"output": voprf.output_of(given.octets("input"), product).hex()}


def blind_evaluate(given: Given) -> Outcome:
    secret, nonce = (ristretto.decode_scalar(given.octets(key)) for key in ("secret", "nonce"))
    evaluated, proof = voprf.blind_evaluate(secret, given.octets_list("elements"), nonce)
    public = ristretto.encode(ristretto.multiply(secret, ristretto.GENERATOR))
    return {"public": public.hex(), "evaluated": [each.hex() for each in evaluated], "proof": proof.hex()}


def finalize(given: Given) -> Outcome:
    strings, blinds = given.octets_list("inputs"), given.octets_list("blinds")
    evaluated = given.octets_list("evaluated")
    outputs = voprf.finalize(given.octets("public"), strings, blinds, evaluated, given.octets("proof"))
    return {"outputs": [each.hex() for each in outputs]}


def input_(given: Given) -> Outcome:
    encoded = inputs.encode_input(given.number("scheme_version"), given.text("label"), given.raw("values"))
    return {"input": encoded.hex()}


def filler(given: Given) -> Outcome:
    found = inputs.filler(
        given.number("scheme_version"), given.octets("seed"), given.text("class"), given.number("slot")
    )
    return {"input": found.hex()}


FORWARD: dict[str, Callable[[Given], object]] = {
    "identifier": identifier,
    "certificate-name": certificate_name,
    "read-certificate-name": read_certificate_name,
    "encode": encode,
    "decode": decode,
    "domain-label": domain_label,
    "hash": hash_,
    "kdf": kdf,
    "sign": sign,
    "verify": verify,
    "seal-info": seal_info,
    "element": element,
    "scalar": scalar,
    "blind": blind,
    "derive-key-pair": derive_key_pair,
    "epoch-key": epoch_key,
    "evaluate": evaluate,
    "blind-evaluate": blind_evaluate,
    "finalize": finalize,
    "input": input_,
    "filler": filler,
}
BACKWARD: dict[str, Callable[[Given, Given], object]] = {
    "encode": encode_back,
    "certificate-name": lambda expected, _: read_certificate_name(expected),
}
