"""bench.febrl4: what it files, which half is inside, and how it scores, without running anything."""

from __future__ import annotations

from bench.febrl4 import octets_of
from bench.febrl4_population import Row, applicants, filed, members, owner_of, permutation, read, score
from candor_proto.normalise import Particulars
from candor_records.record_fields import parse

NODES = ("alpha", "bravo", "charlie", "delta", "echo")
FILE = """rec_id, given_name, surname, street_number, date_of_birth, soc_sec_id
rec-7-org, holly, wehr, 8, 19151111, 5304218
rec-12-org,,, 8,, 4066625
"""


def row(**changes: str) -> Row:
    person = {"first": "holly", "last": "wehr", "birth_date": "19151111", "ssn4": "4218"}
    return Row("7", Particulars(**{**person, **changes}))


def answer(entity: str, outcome: str = "MATCH", owners: str = "", candidates: int = 1) -> dict[str, str]:
    return {"rec_id": entity, "outcome": outcome, "owners": owners, "candidates": str(candidates)}


def test_febrl_rows_are_read_with_their_padding_off_and_only_the_last_four() -> None:
    first, second = read(FILE)
    assert first == Row("7", Particulars("holly", last="wehr", birth_date="19151111", ssn4="4218"))
    assert second == Row("12", Particulars(ssn4="6625"))


def test_the_half_is_that_of_the_design_measurements() -> None:
    """`numpy.random.RandomState(1).permutation(5000)` begins so."""
    assert permutation(5000)[:6] == [2764, 4767, 3814, 3499, 2735, 3922]
    assert sorted(permutation(100, seed=3)) == list(range(100))
    assert len(members(Row(str(number), Particulars()) for number in range(10))) == 5


def test_what_intake_refuses_is_filed_as_far_as_it_is_possible() -> None:
    for changes, birth_date in (
        ({}, "1915-11-11"),
        ({"birth_date": "19151145"}, "1915-11"),
        ({"birth_date": "19151911"}, "1915"),
        ({"birth_date": "1915"}, ""),
        ({"last": ""}, "1915-11-11"),
        ({"first": "", "ssn4": "0000"}, "1915-11-11"),
    ):
        made = filed(row(**changes))
        assert made is not None
        assert made["birth_date"] == birth_date
        assert parse(made)[0] is not None
    assert filed(row(birth_date="", ssn4="")) is None


def test_applicants_carry_no_label_but_the_row_id() -> None:
    assert applicants([row()]).splitlines() == [
        "rec_id,first,last,birth_date,ssn4",
        "7,holly,wehr,19151111,4218",
    ]


def test_a_perfect_batch_scores_one() -> None:
    answers = [answer("5", owners=owner_of("5", NODES)), answer("6", "NO_RECORD", candidates=0)]
    found = score(answers, {"5"}, NODES)
    assert (found.precision, found.recall, found.non_members_wrongly_matched) == (1.0, 1.0, 0.0)


def test_a_match_at_another_owner_is_a_wrong_candidate_and_finds_nobody() -> None:
    found = score([answer("5", owners="bravo"), answer("6", owners="alpha")], {"5"}, NODES)
    assert (found.precision, found.recall, found.non_members_wrongly_matched) == (0.0, 0.0, 1.0)


def test_further_candidates_cost_precision_and_indefinite_rows_recall() -> None:
    answers = [answer("5", owners="alpha; bravo", candidates=2), answer("10", "INCOMPLETE")]
    found = score(answers, {"5", "10"}, NODES)
    assert (found.precision, found.recall, found.indefinite) == (0.5, 0.5, 1)


def test_octets_are_summed_over_the_connections_of_a_process() -> None:
    listing = (
        'ESTAB 0 0 127.0.0.1:1 127.0.0.1:2 users:(("a",pid=10,fd=3))\n'
        "\t cubic bytes_sent:100 bytes_acked:101 bytes_received:7 segs_out:2\n"
        'ESTAB 0 0 127.0.0.1:3 127.0.0.1:2 users:(("a",pid=10,fd=4))\n'
        "\t cubic bytes_sent:1 segs_out:2\n"
        "ESTAB 0 0 127.0.0.1:5 127.0.0.1:6\n"
        "\t cubic bytes_sent:9 bytes_received:9\n"
    )
    assert octets_of(listing) == {10: (101, 7)}
