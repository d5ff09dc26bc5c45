"""Policy packs for tests: a small state's pack, and issuers of our own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

from candor_node import packs
from candor_node.shipped_packs import shipped
from candor_node.store import Database
from candor_proto.signing import SigningKey
from candor_records.pack import PackPolicy
from candor_records.pack_reader import read_pack
from candor_records.pack_rules import DEFAULT_PACK, Pack
from candor_records.pack_signature import sign_pack
from candor_records.record_fields import parse
from candor_records.records import Record, initial
from tests.records import CONTRIBUTOR, NODE, NOW, ORI, make_row

ISSUER = SigningKey(bytes(range(32)))

HEAD = """\
format = 1
name = "testland"
title = "Testland"
jurisdiction = "ZZ"
version = {version}
effective_on = 2026-01-01
status = "verify with counsel"
issuer = "The legislature of Testland"
"""

CLOCK = """
[[rule]]
id = "zz.clock"
term = "REPORTING_CLOCK"
kinds = ["TERMINATION_FOR_CAUSE"]
days = {days}
counted = "CALENDAR"
from = "EFFECTIVE"
[rule.source]
citation = "Testland Code § 1"
[rule.passes]
case = "On the last day."
kind = "TERMINATION_FOR_CAUSE"
on = {last}
expect = "on time"
[rule.refuses]
case = "On the day after it."
kind = "TERMINATION_FOR_CAUSE"
on = {after}
expect = "1 day late"
"""

APPEAL = """
[[rule]]
id = "zz.appeal"
term = "GATE_EXCEPTION"
kinds = ["TERMINATION_FOR_CAUSE"]
exception = "FINAL_APPEAL_PENDING"
[rule.source]
citation = "Testland Code § 2"
[rule.passes]
case = "In effect, an appeal is pending."
kind = "TERMINATION_FOR_CAUSE"
fields = { finality = "APPEAL_PENDING" }
on = 2021-07-01
expect = "shared"
[rule.refuses]
case = "The same without notice."
kind = "TERMINATION_FOR_CAUSE"
fields = { finality = "APPEAL_PENDING", notice_given_on = "UNKNOWN", notice_method = "UNKNOWN" }
on = 2021-07-01
expect = "held: notice"
"""

SHORT = """
[[rule]]
id = "zz.keep"
term = "RETENTION"
kinds = ["TERMINATION_FOR_CAUSE"]
keep_years = 2
from = "EFFECTIVE"
[rule.source]
citation = "Testland Code § 3"
[rule.passes]
case = "Shortly before the end."
kind = "TERMINATION_FOR_CAUSE"
on = 2023-06-13
expect = "kept until 2023-06-14"
[rule.refuses]
case = "At the end."
kind = "TERMINATION_FOR_CAUSE"
on = 2023-06-14
expect = "ended on 2023-06-14"
"""


PURPOSES = """
[[rule]]
id = "zz.purposes"
term = "PURPOSES"
allowed = ["CERTIFICATION", "SUBJECT_ACCESS", "AUDIT", "C"]
[rule.source]
citation = "Testland Code § 4"
[rule.passes]
case = "A licence."
purpose = "CERTIFICATION"
expect = "answered"
[rule.refuses]
case = "A hiring check."
purpose = "J_APPLICANT"
expect = "refused"
"""


def clock(days: int = 5, last: str = "2021-06-19", after: str = "2021-06-20") -> str:
    return CLOCK.format(days=days, last=last, after=after)


def pack_text(*rules: str, version: int = 1) -> str:
    """The text of the pack "testland" with these rules; a reporting clock if none are given."""
    return HEAD.format(version=version) + "".join(rules or (clock(),))


def make_pack(*rules: str, version: int = 1) -> Pack:
    return read_pack(pack_text(*rules, version=version).encode())


@lru_cache
def default_pack() -> Pack:
    return shipped(DEFAULT_PACK).pack


def make_policy(*rules: str) -> PackPolicy:
    """The default pack, and over it "testland" with these rules if any are given."""
    return PackPolicy((default_pack(), make_pack(*rules)) if rules else (default_pack(),))


def detailed_record(details: Mapping[str, str], now: datetime = NOW, /, **overrides: str) -> Record:
    """A first version as `make_record` makes it, with fields of its kind as well."""
    content, faults = parse({**make_row(**overrides), **details})
    assert content is not None, faults
    return initial(content, now, ORI, NODE, CONTRIBUTOR)


def signed(text: str, issuer: SigningKey = ISSUER) -> tuple[bytes, str]:
    """Octets and signature of a pack."""
    octets = text.encode()
    return octets, sign_pack(issuer, octets).text


def adopted(db: Database, now: datetime, *rules: str) -> None:
    """Put "testland" with these rules in force."""
    octets, signature = signed(pack_text(*rules))
    packs.adopt(db, now, octets, signature, [ISSUER.public], NODE, ISSUER, "clerk-7", "chief-2")
