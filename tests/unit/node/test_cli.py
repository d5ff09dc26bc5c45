"""The agency's commands: words, exit statuses, and what they never say."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from candor_node import cli_lookup, cli_requests, result_page
from candor_node.cli import cli
from candor_node.cli_common import (
    EXIT_FAILED,
    EXIT_INCOMPLETE,
    EXIT_OPERATOR,
    guarded,
    table,
    to_dict,
)
from candor_proto.errors import (
    CandorError,
    InputInvalid,
    NotAuthenticated,
    PurposeRefused,
    SignatureInvalid,
    WrongRole,
)
from candor_proto.scoring import Evidence, NameRarity, Outcome, explain
from candor_wire.v1 import local_pb2 as pb
from tests.federation import Federation, federation, until
from tests.records import csv_bytes, generated_rows, make_row

Run = Callable[..., Awaitable[Result]]
PERSON = {
    "first": "Quentin",
    "last": "Placeholdersen",
    "birth_date": "1984-07-23",
    "ssn4": "4821",
}
PAPERS = ("--purpose", "j_applicant", "--case", "REQ-1", "--consent", "C-1", "--officer", "Inv. Roe")


def play(folder: Path, scene: Callable[[Federation, Run], Awaitable[None]], agencies: int = 2) -> None:
    """`scene` gets a federation and runs commands against the first node (or `at` another)."""

    async def whole() -> None:
        async with federation(folder, agencies) as fed:

            async def run(*words: str, at: str = "alpha", stdin: str | None = None) -> Result:
                environment = {"CANDOR_NODE_CONFIG": str(folder / at / "node.toml")}
                return await asyncio.to_thread(
                    CliRunner().invoke, cli, list(words), stdin, environment, standalone_mode=False
                )

            await scene(fed, run)

    # The runner takes standard output for itself, and what the nodes log would stand in between.
    with capture_logs():
        asyncio.run(whole())


def ended(result: Result) -> int:
    """The exit status a command asked for; raises what it raised."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.return_value if isinstance(result.return_value, int) else 0


# --- the whole way -------------------------------------------------------------------------------------


def test_from_import_to_the_opened_record(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        file = tmp_path / "records.csv"
        file.write_bytes(csv_bytes([make_row(), *generated_rows(5)]))
        imported = await run("import", str(file), "--by", "clerk-7", at="bravo")
        assert ended(imported) == 0
        assert imported.output.splitlines() == ["6 new, 0 changed, 0 unchanged.", "Published."]
        await until(lambda: fed.nodes[0].indexes.version == fed.nodes[1].indexes.version)
        await fed.settled()

        person = tmp_path / "person.json"
        person.write_text(json.dumps(PERSON))
        found = await run("lookup", "--person", str(person), *PAPERS, "--json")
        assert ended(found) == 0
        view = json.loads(found.stdout)
        assert view["overall"] == "MATCH"
        assert view["coverage"]["answered"] == view["coverage"]["asked"] == 2
        assert view["hits"][0]["owner"] == "bravo"

        sent = await run("requests", "send", view["lookup_id"][:8], "1", "--by", "dana", "--json")
        assert ended(sent) == 0
        request = json.loads(sent.stdout)["request_id"]

        async def shown(at: str) -> dict[str, Any]:
            result = await run("requests", "show", request, "--json", at=at)
            return json.loads(result.stdout) if result.exception is None else {}

        while (await shown("bravo")).get("state") != "waiting":
            await asyncio.sleep(0.05)
        listed = await run("requests", "list", at="bravo")
        assert "waiting" in listed.output
        assert ended(await run("requests", "approve", request[:12], "--by", "chief", at="bravo")) == 0
        while (await shown("alpha"))["state"] != "opened":
            await asyncio.sleep(0.05)
        opened = await run("requests", "show", request)
        assert "narrative: Falsified two overtime reports" in opened.output
        assert "the record that the owner's index committed to" in opened.output

        ledger = await run("audit", "ledger", "--event", "disclosure", at="bravo")
        assert "disclosure.released" in ledger.output
        assert "chain of all" in ledger.output
        for words in (["records", "list"], ["status"], ["doctor"], ["lookups", "list"]):
            listed = await run(*words, at="bravo")
            assert ended(listed) == 0
            assert "Placeholderson" not in listed.output

    play(tmp_path, scene)


def test_why_a_record_is_shared_or_not(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        await fed.file(fed.nodes[0], [make_row(finality="APPEAL_PENDING")])
        listed = json.loads((await run("records", "list", "--json")).stdout)
        (record,) = listed["records"]
        assert record["matchable"] is False
        shown = await run("records", "show", record["dcn"])
        assert "is held back: it cannot match" in shown.output
        assert "Fails: an appeal is pending" in shown.output

    play(tmp_path, scene, agencies=1)


def test_a_lookup_says_no_record_among_whom_and_never_clear(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        found = await run("lookup", "--person", "-", *PAPERS, stdin=json.dumps(PERSON))
        assert ended(found) == 0
        assert "NO_RECORD  no record among 2 of 2 nodes" in found.output
        assert "clear" not in found.output.lower()

    play(tmp_path, scene)


def test_an_incomplete_lookup_has_a_status_of_its_own(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        await fed.stop(fed.nodes[1])
        found = await run(
            "lookup",
            "--person",
            "-",
            *PAPERS,
            "--wait",
            f"{fed.a_while_seconds:.1f}",
            stdin=json.dumps(PERSON),
        )
        assert ended(found) == EXIT_INCOMPLETE
        assert found.output.startswith("INCOMPLETE  no record among the 1 of 2 nodes that answered")
        assert "  bravo  has not answered yet\n" in found.output
        shown = await run("lookups", "list", "--json")
        (view,) = json.loads(shown.stdout)["lookups"]
        assert view["overall"] == "INCOMPLETE"
        again = await run("lookups", "show", view["lookup_id"][:6])
        assert "INCOMPLETE" in again.output

    play(tmp_path, scene)


def test_rows_with_errors_are_named_and_nothing_is_stored(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        file = tmp_path / "records.csv"
        file.write_bytes(csv_bytes([make_row(), make_row(agency_record_id="B-2", effective_on="soon")]))
        done = await run("import", str(file))
        assert ended(done) == EXIT_OPERATOR
        assert "row 3, effective_on:" in done.output
        assert "soon" not in done.output
        assert "nothing was stored" in done.stderr
        assert json.loads((await run("records", "list", "--json")).stdout)["total"] == 0

    play(tmp_path, scene, agencies=1)


def test_a_denied_lookup_is_one_sentence(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        for words, sentence in (
            (("--purpose", "PLEASURE", *PAPERS[2:]), "is not a purpose code"),
            (("--purpose", "C", *PAPERS[2:]), "are off in this federation"),
            (
                ("--purpose", "J_APPLICANT"),
                r"the requisition number \(--case\), the applicant's signed consent",
            ),
        ):
            done = await run("lookup", "--person", "-", *words, stdin=json.dumps(PERSON))
            with pytest.raises(CandorError, match=sentence) as caught:
                ended(done)
            assert "Placeholder" not in str(caught.value)
            assert done.output == ""

    play(tmp_path, scene, agencies=1)


def test_ids_may_be_shortened_but_not_guessed(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        for words, sentence in (
            (("lookups", "show", "zz"), "is not the id of a lookup"),
            (("lookups", "show", "abcdef12"), "There is no lookup abcdef12"),
            (("requests", "approve", "abcdef12"), "There is no request abcdef12"),
        ):
            with pytest.raises(CandorError, match=sentence):
                ended(await run(*words))

    play(tmp_path, scene, agencies=1)


# --- words ---------------------------------------------------------------------------------------------


def view(overall: str, **fields: Any) -> pb.LookupView:
    coverage = pb.Coverage(sentence="3 of 4 nodes answered; 1 pending (d)", answered=3, asked=4)
    coverage.reports.add(node="d", state="pending")
    return pb.LookupView(lookup_id="ab" * 16, overall=overall, coverage=coverage, **fields)


def hit(number: int, band: str = "review", owner_name: str = "Bravo PD", **fields: Any) -> pb.Hit:
    known: dict[str, Any] = {
        "kind": "DECERTIFICATION",
        "tier": "ADJUDICATED",
        "band": band,
        "probability": 0.71,
        "headline": f"{band}, 71 %: words on it",
        "reasons": ["different last four", "given name agrees in part", "surname agrees"],
        "agreeing": ["given name", "surname"],
        "differing": ["last four of the SSN"],
        "not_known": ["sex"],
    }
    return pb.Hit(number=number, owner="bravo", owner_name=owner_name, **(known | fields))


def text_of(message: pb.LookupView, width: int = 80) -> str:
    return "\n".join(result_page.lines(message, width))


def test_a_hit_is_a_candidate_with_its_reasons_and_what_speaks_against_it_comes_first() -> None:
    text = text_of(view("MATCH", hits=[hit(1)]))
    assert text.startswith("MATCH  1 candidate among 3 of 4 nodes: 1 to review\n")
    assert "a candidate until its owner confirms identity" in text
    assert (
        "[1] bravo (Bravo PD)\n"
        "    DECERTIFICATION, ADJUDICATED\n"
        "    review, 71 %: words on it\n"
        "    - different last four\n"
        "    agrees:    given name (in part), surname\n"
        "    differs:   last four of the SSN\n"
        "    not known: sex\n"
    ) in text
    assert "Nodes:\n  d  pending\n" in text
    assert "requests send abababababab 1" in text


def test_hits_set_aside_stand_apart_as_not_the_same_person_with_the_reason() -> None:
    text = text_of(view("INCOMPLETE", hits=[], set_aside=[hit(2, "below threshold")]))
    before, _, after = text.partition("*not* the same person")
    assert "1 set aside" in before
    assert "[2]" not in before
    assert "[2] bravo" in after
    assert "    below threshold, 71 %: words on it\n    - different last four\n" in after
    assert "agrees" not in after
    assert "requests send" not in text


def test_the_first_line_counts_strong_ones_and_those_to_review() -> None:
    hits = [hit(1, "strong"), hit(2), hit(3)]
    first = result_page.lines(view("MATCH", hits=hits, set_aside=[hit(4, "below threshold")]), 100)[0]
    assert first == "MATCH  3 candidates among 3 of 4 nodes: 1 strong, 2 to review; 1 set aside"


@pytest.mark.parametrize("count", [20, 500])
def test_of_many_hits_the_first_are_whole_and_every_other_one_has_its_line(count: int) -> None:
    hits = [hit(number) for number in range(1, count + 1)]
    aside = [hit(number, "below threshold") for number in range(count + 1, 2 * count)]
    lines = result_page.lines(view("MATCH", hits=hits, set_aside=aside), 80)
    starts = [line.split()[0] for line in lines if line.startswith("[")]
    assert starts == [f"[{number}]" for number in range(1, 2 * count)]
    assert sum(line.startswith("    agrees:") for line in lines) == result_page.MOST_WHOLE
    assert "[11] bravo: DECERTIFICATION, review, 71 %; different last four" in lines
    assert any("lookups show abababababab --json" in line for line in lines)
    assert len(lines) < 2 * count + 150


def test_no_line_is_wider_than_the_terminal_and_what_is_copied_stays_whole() -> None:
    name = "Metropolitan Consolidated Department of Public Safety, Internal Accountability Division " * 3
    message = view("INCOMPLETE", hits=[hit(1, owner_name=name), hit(2, not_known=["surname"] * 30)])
    message.coverage.reports.add(node="e", state="refused", reason="this node's quota there is spent " * 4)
    message.notes.append("Not every alternative surname fitted into the lookups; ask again. " * 2)
    for width in (40, 80, 100):
        lines = result_page.lines(message, width)
        # The id alone is wider than a line may have to be.
        assert all(len(line) <= max(width, len("Lookup: ") + 32) for line in lines)
        assert " ".join(name.split()) in " ".join(" ".join(lines).split())
        assert "    agrees:    given name (in part), surname" in lines or width == 40
    assert f"Lookup: {'ab' * 16}" in lines


@pytest.mark.parametrize("detailed", [True, False])
def test_every_reason_that_is_given_is_shown(detailed: bool) -> None:
    """The words come from `scoring`: none may be lost between there and the screen."""
    found = explain(EVIDENCE if detailed else replace(EVIDENCE, outcomes={}))
    one = hit(
        1,
        found.band.value,
        headline=found.headline,
        reasons=found.reasons,
        agreeing=found.agreeing,
        differing=found.differing,
        not_known=found.not_known,
    )
    text = " ".join(text_of(view("MATCH", hits=[one])).split())
    assert found.headline in text
    for reason in found.reasons:
        words = reason.removeprefix("agrees in ").removesuffix(" in part").removesuffix(" agrees")
        assert words in text
    against = [reason for reason in found.reasons if "agrees" not in reason]
    assert against
    assert all(f"- {reason}" in text for reason in against)
    # Keys alone say nothing of a field: "not known" beside "agrees" would contradict them.
    assert ("not known:" in text) == detailed
    assert ("agrees: given name, surname, birth date (in part)" in text) == detailed


EVIDENCE = Evidence(
    frozenset({"F+Dc", "F+S", "L3+S", "SW3+YM"}),
    frozenset({"F+S", "SW3+YM"}),
    {
        **dict.fromkeys(("F", "L", "YM"), Outcome.AGREE),
        **dict.fromkeys(("D", "S", "X"), Outcome.DISAGREE),
        "G": Outcome.NOT_KNOWN,
    },
    NameRarity(),
)


def test_json_has_band_probability_and_headline() -> None:
    (found,) = to_dict(view("MATCH", hits=[hit(1)]))["hits"]
    assert (found["band"], found["probability"]) == ("review", 0.71)
    assert found["headline"] == "review, 71 %: words on it"
    assert found["reasons"][0] == "different last four"


def test_no_result_can_be_taken_for_a_clean_bill() -> None:
    for overall in ("MATCH", "NO_RECORD", "INCOMPLETE", "PENDING"):
        text = text_of(view(overall)).lower()
        assert "clear" not in text
        assert "good record" not in text
    assert "nothing is known of the others" in text_of(view("INCOMPLETE"), 100)


def test_a_request_that_was_refused_says_that_evidence_is_kept() -> None:
    request = pb.RequestView(request_id="cd" * 16, direction="sent", state="invalid", evidence_kept=True)
    assert "kept as evidence" in "\n".join(cli_requests.lines(request))


def test_json_has_every_field_and_numbers_as_numbers() -> None:
    status = to_dict(pb.StatusResponse(directory_version=1 << 40, members=[pb.MemberStatus(node="a")]))
    assert status["directory_version"] == 1 << 40
    assert status["attached"] is False
    assert status["members"][0]["index_held"] is False
    assert to_dict(pb.RequestView())["record"] is None
    assert to_dict(pb.LedgerEntry(refs={"b": "2", "a": "1"}))["refs"] == {"a": "1", "b": "2"}


def test_tables_line_up() -> None:
    assert table([("a", "bb"), ("ccc", "d")], ("X", "YY")) == ["X    YY", "a    bb", "ccc  d"]


# --- the person ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1]", "not a JSON object"),
        ("{", "not JSON"),
        ('{"firstname": "Jo"}', "fields that are not known: firstname"),
        ('{"ssn4": 4821}', "not text: ssn4"),
    ],
)
def test_a_person_that_cannot_be_read_is_one_sentence_without_values(
    tmp_path: Path, text: str, sentence: str
) -> None:
    file = tmp_path / "person.json"
    file.write_text(text)
    with pytest.raises(InputInvalid, match=sentence) as caught:
        cli_lookup._read_person(str(file))
    assert "4821" not in str(caught.value)


def test_what_is_missing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["Mid", "", "", "1990-01-02", "1234", "F", "", "CASE-1", "CONSENT-1", "Roe"])
    asked: list[str] = []

    def prompt(text: str, default: str = "", show_default: bool = True) -> str:
        asked.append(text)
        return next(answers) or default

    monkeypatch.setattr("candor_node.cli_lookup.click.prompt", prompt)
    person = {"first": "Jo", "last": "Doe"}
    papers: dict[str, str | None] = dict.fromkeys(("purpose", "case number", "consent", "officer in charge"))
    cli_lookup._ask(person, papers, whole=True)
    assert person["middle"] == "Mid"
    assert person["ssn4"] == "1234"
    assert papers == {
        "purpose": "J_APPLICANT",
        "case number": "CASE-1",
        "consent": "CONSENT-1",
        "officer in charge": "Roe",
    }
    assert len(asked) == 10


# --- the program ---------------------------------------------------------------------------------------


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", list(commands(cli)), ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    command: Any = cli
    for name in path:
        command = command.commands[name]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.name} says nothing"


def test_every_command_that_reports_has_json() -> None:
    without = {"run"}
    for path in commands(cli):
        command: Any = cli
        for name in path:
            command = command.commands[name]
        if not isinstance(command, click.Group) and path[-1] not in without:
            assert any(parameter.name == "as_json" for parameter in command.params), path


def test_the_version_comes_at_once() -> None:
    """What is slow to import is imported where it is used."""
    code = (
        "import sys\nfrom candor_node.cli import cli\n"
        "slow = {'grpc', 'sqlite_utils', 'sqlcipher3', 'pydantic'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputInvalid("Wrong.", remedy="Right it."), EXIT_OPERATOR),
        (SignatureInvalid("Forged."), EXIT_FAILED),
        (WrongRole("Not yours."), EXIT_OPERATOR),
        (NotAuthenticated("Who?"), EXIT_OPERATOR),
        (PurposeRefused("Why?"), EXIT_OPERATOR),
        (click.UsageError("no such option"), EXIT_OPERATOR),
        (KeyboardInterrupt(), EXIT_OPERATOR),
        (PermissionError(13, "Permission denied", "/x"), EXIT_OPERATOR),
        (ValueError("a bug of ours"), EXIT_FAILED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_way_out_has_a_status_and_no_traceback(
    error: BaseException, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int:
        raise error

    with pytest.raises(SystemExit) as caught:
        guarded(command)
    assert caught.value.code == status
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err
    assert "Traceback" not in output.err
    assert "a bug of ours" not in output.err
