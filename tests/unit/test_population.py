"""tools.population: the same octets every time, exact structure, the rates of the development sets."""

from __future__ import annotations

import csv
import hashlib
import json
import lzma
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from functools import cache
from itertools import islice
from math import sqrt
from pathlib import Path

import pytest

from tools.generate_population_names import (
    census_list,
    groups_of_surnames,
    lines,
    nickname_lines,
    thinned,
)
from tools.population import COLUMNS, LABELS, MIXES, Labelled, from_json, generate, held, load, read, write
from tools.population.compare import FIELDS, kinds, measured, table
from tools.population.cultures import cultures
from tools.population.development import NAMES, pack, path, unpack
from tools.population.draw import Draw, Quota, Table
from tools.population.errors import titled
from tools.population.files import (
    MEMBER_SHARES,
    OTHER_SHARES,
    RELATIVE_SHARES,
    SECOND_RECORD_SHARE,
    Population,
)
from tools.population.mixes import RATE_NAMES, Rates, to_json
from tools.population.names import DATA, label, made, nickname, surnames
from tools.population.origins import GROUPS, census
from tools.population.people import Names, person
from tools.population.slips import bare, cut, folded, keyed, mangled, misdialled, scanned, sounded
from tools.population.variants import varied

ROOT = Path(__file__).resolve().parents[2]

# Another digest is another population: whoever trained or measured on the old one has to be told.
DIGESTS = {
    (7, 100, "dev", "census"): "249a32b2f0f2a11bdc25b32001d5a0540ed99a70b6c6c708cd39dd56d23886fe",
    (7, 120, "mixed", "balanced"): "91bd4bc06fa235dce7d91775ee686b5021ba7abfda7f467916a018e777a7334e",
    (11, 80, "origin-heavy", "diverse"): "72dcdeee7f1340fa91b539b35661a93b2619b2e4a78ce289e570d22bb7c38b4a",
}
DATA_DIGESTS = {
    "names.txt.xz": "0d016a877e4597ca35f786bf411f94d6587db98cc9f03e65cfb1aefaae22b5ce",
    "officers-dev.csv.xz": "9425fa9aae30eb8d40613568d532186db6111de43095e47bfdae27938da4efd7",
    "officers-devhard.csv.xz": "c6067b58ac2234d55327ca9c6eda8b4467ab7ac80765c780b9711ffee7ad7b9f",
}


# As large as the development sets where it is compared with them; else large enough to tell mixes apart.
LARGE = ("clean", "dev", "hard")


@cache
def population(mix: str, origins: str = "census") -> Labelled:
    size = (20_000, 5_000) if mix in LARGE else (8_000, 2_000)
    return held(generate(1, *size, MIXES[mix], origins))


@cache
def figures(mix: str) -> dict[str, float]:
    return measured(population(mix))


@cache
def development(name: str) -> Labelled:
    return load(name)


def digest(generated: Population) -> str:
    found = hashlib.sha256()
    for row in [*generated.records(), *generated.queries]:
        found.update((",".join(getattr(row, column) for column in COLUMNS) + "\n").encode())
    for pair in generated.truth:
        found.update((",".join(pair) + "\n").encode())
    return found.hexdigest()


# --- the same octets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", DIGESTS, ids=lambda case: case[2])
def test_the_same_arguments_give_the_same_octets(case: tuple[int, int, str, str]) -> None:
    seed, queries, mix, origins = case
    assert digest(generate(seed, 300, queries, MIXES[mix], origins)) == DIGESTS[case]


def test_hash_order_moves_nothing() -> None:
    code = (
        "from tests.unit.test_population import MIXES, digest, generate\n"
        "print(digest(generate(7, 300, 100, MIXES['mixed'], 'diverse')))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_reading_queries_first_changes_nothing() -> None:
    one, other = generate(3, 200, 60), generate(3, 200, 60)
    queries, truth = one.queries, one.truth
    records = list(one.records())
    assert records == list(other.records()) == list(one.records())
    assert (queries, truth) == (other.queries, other.truth)


def test_another_seed_is_another_population() -> None:
    assert digest(generate(1, 100, 10)) != digest(generate(2, 100, 10))


def test_another_mix_writes_down_the_same_people() -> None:
    clean, hard = population("clean"), population("hard")
    for one, other in ((clean.records, hard.records), (clean.queries, hard.queries)):
        assert [(row.rec_id, row.entity_id, row.kind, row.origin) for row in one] == [
            (row.rec_id, row.entity_id, row.kind, row.origin) for row in other
        ]
    assert clean.truth == hard.truth
    kept = sum(one.last == other.last for one, other in zip(clean.records, hard.records, strict=True))
    assert kept / len(clean.records) > 0.8


def test_records_are_streamed() -> None:
    first = list(islice(generate(1, 5_000_000).records(), 20))
    assert len(first) == 20


def test_a_stream_is_what_its_name_says() -> None:
    draw = Draw("a name")
    assert [draw.below(1000) for _ in range(5)] == [139, 4, 375, 594, 896]
    assert sorted(Draw("x").order(50)) == list(range(50)) != Draw("x").order(50)
    assert not any(Draw("x").chance(0) for _ in range(9))


@pytest.mark.parametrize(("wanted", "total"), [(0, 5), (3, 9), (9, 9), (1, 1000)])
def test_a_quota_is_met_exactly(wanted: int, total: int) -> None:
    draw, quota = Draw("quota"), Quota(wanted, total)
    assert sum(quota.take(draw) for _ in range(total)) == wanted


def test_a_quota_refuses_more_than_there_is() -> None:
    with pytest.raises(ValueError, match="cannot be taken"):
        Quota(3, 2)


def test_a_table_draws_in_proportion() -> None:
    draw, weights = Draw("table"), {"a": 1, "b": 0, "c": 3}
    drawn = Counter(Table(weights.items()).pick(draw) for _ in range(4000))
    assert drawn["b"] == 0
    assert abs(drawn["c"] / 4000 - 0.75) < 0.03


# --- structure ----------------------------------------------------------------------------------------


def test_the_truth_is_what_the_entities_say() -> None:
    data = population("dev")
    assert len(data.records) == 20_000
    assert len(data.queries) == 5_000
    held_by: dict[str, list[str]] = {}
    for row in data.records:
        held_by.setdefault(row.entity_id, []).append(row.rec_id)
    assert [*data.truth] == sorted(
        (query.rec_id, rec_id) for query in data.queries for rec_id in held_by.get(query.entity_id, ())
    )
    assert Counter(len(rows) for rows in held_by.values()) == {1: 20_000 - 2 * 1526, 2: 1526}
    assert round(20_000 * SECOND_RECORD_SHARE) == 1526
    assert {query for query, _ in data.truth} == {
        row.rec_id for row in data.queries if not row.kind.startswith("nm_")
    }


def test_the_kinds_are_as_frequent_as_planned() -> None:
    data = population("dev")
    people = {row.entity_id: row.kind for row in data.records}
    of_records, of_queries = Counter(people.values()), kinds(data.queries)
    for kind in ("fatherson", "twin", "collision"):
        assert of_records[kind] == round(len(people) * RELATIVE_SHARES[kind])
        assert of_queries[kind] == round(2_500 * MEMBER_SHARES[kind])
        assert of_queries[f"nm_{kind}"] == round(2_500 * OTHER_SHARES[kind])
    assert sum(count for kind, count in of_queries.items() if not kind.startswith("nm_")) == 2_500


@pytest.mark.parametrize("name", NAMES)
def test_the_kinds_are_those_of_the_development_sets(name: str) -> None:
    for ours, theirs in (
        (kinds(population("dev").records), kinds(development(name).records)),
        (kinds(population("dev").queries), kinds(development(name).queries)),
    ):
        assert ours.keys() == theirs.keys()
        for kind in ours:
            assert abs(ours[kind] - theirs[kind]) <= 4 * sqrt(theirs[kind]), kind


def test_relatives_are_what_makes_them_hard() -> None:
    data = population("clean")
    before = dict(zip((row.rec_id for row in data.records[1:]), data.records, strict=False))
    pairs = [
        (before[row.rec_id], row)
        for row in data.records
        if row.kind != "plain" and before[row.rec_id].kind == "plain"
    ]
    assert {row.kind for _, row in pairs} == {"fatherson", "twin", "collision"}
    for base, row in pairs:
        assert base.last == row.last
        assert base.entity_id != row.entity_id
        if row.kind == "twin":
            assert base.dob == row.dob
            assert base.first != row.first
        elif row.kind == "fatherson":
            assert {base.suffix, row.suffix} == {"Sr", "Jr"}
            assert base.first == row.first
            assert 20 <= abs(int(base.dob[:4]) - int(row.dob[:4])) <= 35
        else:
            assert (base.first, base.dob[:4]) == (row.first, row.dob[:4])
    twins = [(base, row) for base, row in pairs if row.kind == "twin"]
    assert 0.2 < sum(abs(int(a.ssn4) - int(b.ssn4)) == 1 for a, b in twins) / len(twins) < 0.5


def test_the_share_of_members_is_exact() -> None:
    for members in (0.0, 0.05, 1.0):
        data = held(generate(5, 2_000, 400, members=members))
        assert len({query for query, _ in data.truth}) == round(400 * members)


@pytest.mark.parametrize(
    "arguments",
    [
        {"records": 0},
        {"queries": -1},
        {"members": 1.1},
        {"origins": "elsewhere"},
        {"records": 100, "queries": 300},
        {"records": 100, "queries": 5_000, "members": 0.0},
        {"mix": replace(MIXES["dev"], sloppy_most=1.5)},
        {"mix": replace(MIXES["dev"], record=Rates(keyed=-0.1))},
        {"mix": replace(MIXES["dev"], sloppy_errors=-1.0)},
    ],
    ids=str,
)
def test_what_cannot_be_generated_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        generate(1, **arguments)  # type: ignore[arg-type]  # wrong values are the point


# --- what goes wrong ----------------------------------------------------------------------------------


def test_nothing_goes_wrong_in_the_clean_mix() -> None:
    data = population("clean")
    records = {row.rec_id: row for row in data.records}
    queries = {row.rec_id: row for row in data.queries}
    for query, record in data.truth:
        assert all(getattr(queries[query], field) == getattr(records[record], field) for field in FIELDS)
    assert all(row.dob and row.ssn4 and row.sex and row.post_id for row in data.records)
    assert measured(data)["missing middle A"] == pytest.approx(0.06, abs=0.01)


@pytest.mark.parametrize(("mix", "name"), [("dev", "officers-dev"), ("hard", "officers-devhard")])
def test_rates_are_those_of_the_development_set(mix: str, name: str) -> None:
    """Missing shares within .02, equal shares of true pairs within .04, of two records within .1."""
    ours, theirs = figures(mix), measured(development(name))
    far = {}
    for figure in theirs:
        # Half as many people have two records, and of those a fifth have a middle name in both.
        equal = 0.1 if figure.endswith("A-A") else 0.04
        bound = equal if figure.startswith("equal") else 0.02 if figure.startswith("missing") else 0.03
        if abs(ours[figure] - theirs[figure]) > bound:
            far[figure] = (ours[figure], theirs[figure])
    # Few pairs have a certificate on both sides: four standard errors of 200 pairs are more than that.
    assert {figure: values for figure, values in far.items() if "post" not in figure} == {}
    assert all(abs(one - other) < 0.13 for one, other in far.values())


def test_sloppy_rows_are_sloppy_in_everything() -> None:
    """In `hard` fields are missing together far more often than if they were missing independently."""
    for side in ("A", "B"):
        alone = 1.0
        for field in ("middle", "ssn4", "sex", "post_id"):
            alone *= figures("hard")[f"missing {field} {side}"]
        assert figures("hard")[f"4 of 4 missing {side}"] > 1.8 * alone
        assert figures("dev")[f"4 of 4 missing {side}"] < figures("hard")[f"4 of 4 missing {side}"] / 3


def test_mixed_lies_between_dev_and_hard() -> None:
    for figure in ("equal first A-B", "equal last A-B", "equal dob A-B"):
        assert figures("hard")[figure] < figures("mixed")[figure] < figures("dev")[figure]
    for figure in ("missing ssn4 A", "missing ssn4 B", "missing middle B"):
        assert figures("dev")[figure] < figures("mixed")[figure] < figures("hard")[figure]


@pytest.mark.parametrize(
    ("mix", "figure"),
    [
        ("keyboard-heavy", "equal last A-B"),
        ("phonetic-heavy", "equal first A-B"),
        ("date-heavy", "equal dob A-B"),
    ],
)
def test_heavier_mixes_are_heavier(mix: str, figure: str) -> None:
    assert figures(mix)[figure] < figures("mixed")[figure] - 0.04


def test_in_the_missing_heavy_mix_more_is_missing() -> None:
    for field in ("middle", "ssn4", "sex", "post_id"):
        heavier = figures("missing-heavy")[f"missing {field} B"]
        assert heavier > figures("mixed")[f"missing {field} B"] + 0.04


def test_dates_are_possible_or_partial() -> None:
    for row in population("date-heavy").records:
        assert len(row.dob) in (0, 10)
        for part, most in ((row.dob[5:7], 12), (row.dob[8:], 31)):
            assert part in ("", "XX") or 1 <= int(part) <= most


def test_a_slip_changes_what_it_can_and_no_more() -> None:
    draw = Draw("slips")
    for slip in (keyed, scanned, sounded):
        slipped = [slip(draw, "christopher") for _ in range(300)]
        assert sum(name != "christopher" for name in slipped) > 290
        assert all(abs(len(name) - len("christopher")) <= 2 for name in slipped)
    assert keyed(draw, "x") == "x"
    assert scanned(draw, "aaa") == "aaa"
    assert all(4 <= len(cut(draw, "christopher")) <= 6 for _ in range(20))
    for _ in range(200):
        wrong = misdialled(draw, "1123")
        assert len(wrong) == 4
        assert wrong.isdigit()
        assert wrong != "1123"


def test_scanners_put_digits_into_names() -> None:
    draw = Draw("digits")
    assert any(letter.isdigit() for _ in range(100) for letter in scanned(draw, "flowers"))
    assert titled("fl0wers") == "Fl0Wers"
    assert titled("de la cruz-o'neil") == "De La Cruz-O'Neil"
    assert titled("pen\u0303a") == "Pen\u0303a"


def test_nicknames_are_not_the_table_alone() -> None:
    """MATCHING.md §7.8: errors drawn from the canonicaliser's own table flatter it."""
    draw = Draw("nicknames")
    table_only = {nickname(draw, "thomas", 0.0) for _ in range(200)}
    assert {"tom", "tommy"} <= table_only
    assert {made(draw, "thomas") for _ in range(200)} - table_only
    assert nickname(draw, "zzyzx", 1.0) == "zzyzx"
    assert nickname(draw, "josé", 0.0, ("pepe",)) == "pepe"


# --- mixes as text ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MIXES)
def test_a_mix_is_what_its_json_says(name: str) -> None:
    MIXES[name].check()
    assert from_json(to_json(MIXES[name])) == MIXES[name]


def test_a_mix_of_json_changes_what_it_names() -> None:
    mix = from_json('{"base": "dev", "name": "mine", "query": {"keyed": 0.5}, "sloppy_most": 0.3}')
    assert mix == replace(
        MIXES["dev"], name="mine", query=replace(MIXES["dev"].query, keyed=0.5), sloppy_most=0.3
    )


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "nonsense",
        '{"base": "no such mix"}',
        '{"record": {"typos": 1}}',
        '{"record": {"keyed": "much"}}',
        '{"record": {"keyed": true}}',
        '{"record": {"keyed": 1.5}}',
        '{"record": 3}',
        '{"name": 3}',
        '{"sloppy": 1}',
        '{"sloppy_least": 0.5}',
    ],
)
def test_what_is_no_mix_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


@pytest.mark.parametrize("name", RATE_NAMES)
def test_every_rate_shows_in_the_rows(name: str) -> None:
    clean = MIXES["clean"]
    before = replace(clean.record, nickname=1.0) if name == "made_nickname" else clean.record
    one, other = (
        digest(generate(2, 150, 10, replace(clean, record=rates), "balanced"))
        for rates in (before, replace(before, **{name: 0.0 if getattr(before, name) else 1.0}))
    )
    assert one != other


# --- origins ------------------------------------------------------------------------------------------


def test_the_census_names_are_plain_letters() -> None:
    data = population("clean")
    for row in data.records:
        assert (row.first + row.middle + row.last + row.former_last).isalpha()
        assert (row.first + row.last).isascii()
    assert {row.origin for row in data.records} == {"white", "black", "asian", "native", "hispanic", "mixed"}


def test_every_group_of_balanced_has_pairs_enough() -> None:
    data = population("dev", "balanced")
    records = {row.rec_id: row for row in data.records}
    pairs = Counter(records[record].origin for _, record in data.truth)
    assert pairs.keys() == set(GROUPS) < set(LABELS)
    assert min(pairs.values()) >= 300


def test_diverse_has_the_shares_it_says() -> None:
    found = Counter(row.origin for row in generate(1, 10_000, 0, origins="diverse").records())
    assert found.keys() == set(GROUPS)
    for group, share in (("white", 0.55), ("hispanic", 0.18), ("black", 0.14), ("asian", 0.08)):
        assert abs(found[group] / 10_000 - share) < 0.03


def test_names_of_many_origins_are_there() -> None:
    data = population("clean", "balanced")
    lasts = {row.last for row in data.records}
    firsts = {row.first for row in data.records}
    assert {"Nguyễn", "Đặng", "Müller", "Wójcik", "Al-Hassan", "O'Brien", "De La Cruz"} <= lasts
    assert {"José", "Łukasz", "Mei Ling", "Mohammed", "Sergei"} <= firsts
    assert any(" " in last and row.origin == "hispanic" for row in data.records for last in [row.last])


@pytest.mark.parametrize(
    ("names", "forms"),
    [
        (
            Names("juan", "", "garcía márquez", "hispanic", "spanish", "márquez"),
            {"juan||garcía", "juan||garcía-márquez", "juan||márquez", "juan|garcía|márquez"},
        ),
        (
            Names("ana", "", "de la cruz", "hispanic", "spanish"),
            {"ana||cruz", "ana||delacruz", "ana||la cruz"},
        ),
        (
            Names("mei ling", "", "zhang", "asian", "chinese"),
            {"mei-ling||zhang", "meiling||zhang", "mei|ling|zhang", "mei||zhang", "mei ling||chang",
             "zhang||mei ling"},
        ),
        (
            Names("lan", "thị", "nguyễn", "asian", "vietnamese"),
            {"nguyễn|thị|lan", "thị lan||nguyễn", "lan||nguyễn"},
        ),
        (
            Names("yusuf", "", "al-hassan", "middle-eastern", "arabic"),
            {"youssef||al-hassan", "yusuf||hassan", "yusuf||alhassan", "yusuf||el hassan"},
        ),
        (
            Names("sergei", "ivanovich", "petrov", "slavic", "russian"),
            {"sergey|ivanovich|petrov", "sergei||petrov", "sergei|ivanovich|petroff"},
        ),
        (
            Names("sean", "", "o'brien", "white", "celtic"),
            {"sean||obrien", "sean||o brien", "sean||brien", "sean||o-brien"},
        ),
        (
            Names("lars", "", "van den berg", "white", "germanic"),
            {"lars||vandenberg", "lars||berg", "lars||den berg"},
        ),
        (Names("john", "", "mcdonald", "white", "celtic"), {"john||macdonald", "john||mc donald"}),
    ],
    ids=lambda value: value.last if isinstance(value, Names) else "",
)  # fmt: skip
def test_a_name_is_written_in_the_forms_of_its_origin(names: Names, forms: set[str]) -> None:
    draw = Draw("variants")
    found = {"|".join(varied(draw, names)) for _ in range(600)}
    assert forms <= found


def test_marks_are_dropped_mangled_or_taken_apart() -> None:
    assert [folded(name) for name in ("peña", "đặng", "łukasz", "strauß")] == [
        "pena", "dang", "lukasz", "strauss",
    ]  # fmt: skip
    assert bare("de la Peña".lower()) == "delapena"
    assert {mangled(Draw(str(n)), "peña") for n in range(20)} == {"pe?a", "pea", "pe\ufffda"}


def test_a_label_follows_the_surname() -> None:
    assert label("Nguyen") == "asian"
    assert label("Garcia-Smith") == "hispanic"
    assert label("Washington") == "black"
    assert label("Begay") == "native"
    assert label("Johnson") == "mixed"
    assert label("Qqqqq") == "unlisted"


def test_curated_names_are_in_order() -> None:
    """No name of the lists is empty, upper case or twice in its line; every group's culture is there."""
    found = cultures()
    assert {style.culture for styles in GROUPS.values() for style in styles} - {""} == found.keys()
    for culture in found.values():
        for names in (*culture.given.values(), culture.surnames, culture.middles, *culture.forms.values()):
            assert all(name == name.lower().strip() and name for name in names)
        for names in (*culture.given.values(), culture.surnames):
            assert len(set(names)) == len(names), culture.name
        assert all(folded(name) not in map(folded, forms) for name, forms in culture.forms.items())
        assert culture.shorts.keys() <= {name for names in culture.given.values() for name in names}


# --- where names come from ----------------------------------------------------------------------------


def test_names_come_from_frequency_lists_alone() -> None:
    """Whoever adds a source says so in the README: no file of this folder may hold a real person."""
    readme = (DATA / "README.md").read_text("utf-8")
    files = {path.name for path in DATA.iterdir()} - {"README.md"}
    assert files == {"names.txt.xz", "cultures.txt", "officers-dev.csv.xz", "officers-devhard.csv.xz"}
    assert all(f"`{name}`" in readme for name in files)


def test_the_table_of_names_is_made_by_the_rules_it_states() -> None:
    entries = census_list("ONE 60.000 60.0 1\nTWO 30.000 90.0 2\nTAIL 0.000 90.0 3\nEND 0.000 90.0 4\n")
    assert thinned(entries, 2) == [("one", 6_000_000), ("two", 3_000_000), ("tail", 1_000_000)]
    groups = groups_of_surnames(
        "name,white,black,api,native,multiple,hispanic\n"
        "BAKERLY,0.7,0.3,0,0,0,0\nJOHNSON,0.59,0.35,0,0,0,0\nBOOKERLY,0.4,0.5,0,0,0,0\nLEE,0.3,0.1,,0,0,0\n"
    )
    assert groups == {"bakerly": "white", "bookerly": "black"}
    assert lines("surname", entries[:2], groups) == ["surname mixed 6000000 one", "surname mixed 3000000 two"]
    assert nickname_lines("name1,relationship,name2\nann,has_nickname,nan\nann,is,ann\n") == [
        "nickname ann 1 nan"
    ]


@pytest.mark.parametrize("name", DATA_DIGESTS)
def test_the_carried_data_are_the_pinned_ones(name: str) -> None:
    text = lzma.decompress((DATA / name).read_bytes())
    assert hashlib.sha256(text).hexdigest() == DATA_DIGESTS[name]


def test_the_data_are_small() -> None:
    assert (DATA / "names.txt.xz").stat().st_size < 150_000
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 1_500_000


def test_surnames_are_as_frequent_as_the_census_says() -> None:
    draw = Draw("smith")
    drawn = Counter(surnames().pick(draw) for _ in range(50_000))
    assert abs(drawn["smith"] / 50_000 - 0.0101) < 0.002
    assert len(drawn) > 15_000


@pytest.mark.parametrize(("name", "pairs"), [("officers-dev", 2724), ("officers-devhard", 2699)])
def test_a_development_set_is_carried_whole(name: str, pairs: int) -> None:
    data = development(name)
    assert (len(data.records), len(data.queries), len(data.truth)) == (20_000, 5_000, pairs)
    assert len({query for query, _ in data.truth}) == 2_500
    assert {row.origin for row in data.records} <= set(LABELS)
    text = lzma.decompress(path(name).read_bytes()).decode("utf-8")
    assert pack(data) == text
    assert unpack(text) == data
    assert "address" not in text.splitlines()[0]


def test_no_other_development_set_is_known() -> None:
    with pytest.raises(ValueError, match="officers-dev"):
        load("officers-test")


def test_pairs_that_entities_contradict_are_not_packed() -> None:
    data = held(generate(1, 100, 20))
    with pytest.raises(ValueError, match="entity_id"):
        pack(Labelled(data.records, data.queries, data.truth[1:]))


# --- files and commands -------------------------------------------------------------------------------


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    data = held(generate(9, 300, 80, MIXES["hard"], "balanced"))
    write(generate(9, 300, 80, MIXES["hard"], "balanced"), tmp_path / "new")
    found = read(tmp_path / "new")
    assert [*found.records] == [*data.records]
    assert [*found.queries] == [*data.queries]
    assert [*found.truth] == [*data.truth]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.population", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_the_command_writes_the_columns_of_the_development_sets(tmp_path: Path) -> None:
    mix = tmp_path / "mix.json"
    mix.write_text(json.dumps({"base": "hard", "query": {"exchanged": 0.4}}), "utf-8")
    done = run(str(tmp_path), "--seed", "4", "--records", "200", "--queries", "50", "--mix-file", str(mix))
    assert done.returncode == 0, done.stderr
    with (tmp_path / "B.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == (
        "rec_id,entity_id,agency,first,middle,last,suffix,former_last,dob,ssn4,sex,post_state,post_id,kind,origin"
    )
    assert (tmp_path / "truth.csv").read_text("utf-8").splitlines()[0] == "query_id,rec_id"
    expected = generate(4, 200, 50, from_json(mix.read_text("utf-8")))
    assert rows == [asdict(row) for row in expected.queries]


def test_the_command_compares(tmp_path: Path) -> None:
    write(generate(1, 300, 80), tmp_path)
    done = run("--compare", str(tmp_path), "--seed", "1", "--records", "300", "--queries", "80")
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path} A: collision" in done.stdout
    for line in done.stdout.splitlines():
        if line.startswith("equal"):
            assert line.split()[-1] == line.split()[-2]


@pytest.mark.parametrize(
    "arguments",
    [[], ["OUT"], ["OUT", "--seed", "1", "--members", "7"], ["--compare", "nowhere", "--seed", "1"]],
)
def test_the_command_says_what_is_wrong(arguments: list[str], tmp_path: Path) -> None:
    done = run(*(str(tmp_path) if argument == "OUT" else argument for argument in arguments))
    assert done.returncode == 2
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_table_has_a_line_for_every_figure() -> None:
    text = table({"one": {"a": 0.5, "bb": 0.25}, "other": {"a": 1.0, "bb": 0.0}})
    assert text.splitlines()[1].split() == ["a", "0.5000", "1.0000"]
    assert len(text.splitlines()) == 3


def test_nobody_is_born_too_early_or_too_late_to_serve() -> None:
    draw = Draw("people")
    born = [int(person(draw, census).birth_date[:4]) for _ in range(2_000)]
    assert min(born) >= 1950
    assert max(born) <= 2004
