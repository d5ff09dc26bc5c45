"""Evidence (§17): accepted only if every part verifies and the misbehaviour follows from what the accused
alone can have signed."""

from __future__ import annotations

from cryptography import x509

from candor_verify import against_others, against_owner, names
from candor_verify.case import Case
from candor_verify.errors import Malformed
from candor_verify.form import Fields, parse_file
from candor_verify.proof import Judge
from candor_verify.receipt import Verified

FORMAT = "candor-evidence/1"


def verify_evidence(
    octets: bytes, judge: Judge, root: x509.Certificate | None = None
) -> tuple[Verified, Case]:
    """What the file shows. Raises a Refused that says why it does not hold."""
    fields = Fields(parse_file(octets), "The evidence")
    fields.exactly("format", FORMAT)
    kind, federation, accused = fields.text("kind"), fields.federation(), fields.text("accused")
    case = Case(kind, federation, accused, fields, judge, root)
    if kind in against_owner.KINDS:
        names.check_node(accused)
        lines = against_owner.KINDS[kind](case)
    elif kind in against_others.KINDS:
        lines = against_others.KINDS[kind](case)
    else:
        raise Malformed("There is no evidence of this kind.")
    fields.done()
    return Verified(kind, (f"{kind}: {accused} of {federation}", *(f"  {line}" for line in lines))), case
