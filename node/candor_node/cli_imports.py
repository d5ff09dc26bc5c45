"""Import profiles: `candor-node imports`, and what `candor-node import --propose` and `--template` do."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from candor_node.cli_common import (
    FILE,
    by_option,
    config_option,
    json_option,
    person_in_charge,
    running_node,
    show,
    show_dict,
    table,
)
from candor_proto.errors import InputInvalid

if TYPE_CHECKING:
    import grpc

    from candor_node.mapping import Profile
    from candor_node.mapping_proposals import Proposal

_SECONDS = 30


def stub() -> Callable[[grpc.Channel], Any]:
    """The node's service for imports and exports."""
    from candor_wire.v1 import intake_pb2_grpc

    made: Callable[[grpc.Channel], Any] = intake_pb2_grpc.IntakeServiceStub
    return made


@click.group()
def imports() -> None:
    """Import profiles: how tables of other systems are read (`candor-node import --propose` makes one)."""


@imports.command("list")
@config_option
@json_option
def imports_list(config_file: Path | None, as_json: bool) -> None:
    """List the saved profiles in their newest versions."""
    from candor_wire.v1 import intake_pb2

    with running_node(config_file, stub=stub()) as node:
        reply = node.ListProfiles(intake_pb2.ListProfilesRequest(), timeout=_SECONDS)
    rows = [(one.name, str(one.version), one.saved_at, one.saved_by) for one in reply.profiles]
    head = ("PROFILE", "VERSION", "SAVED", "BY")
    show(reply, as_json, lambda: table(rows, head) if rows else ["No profiles."])


@imports.command("show")
@click.argument("name")
@config_option
@json_option
def imports_show(name: str, config_file: Path | None, as_json: bool) -> None:
    """Print a profile as JSON: to read it, to keep it, to give it to another agency.

    With --json: the same inside of what is known of it, its version and who saved it.
    """
    from candor_wire.v1 import intake_pb2

    with running_node(config_file, stub=stub()) as node:
        reply = node.GetProfile(intake_pb2.GetProfileRequest(name=name), timeout=_SECONDS)
    show(reply, as_json, reply.profile.splitlines)


@imports.command("load")
@click.argument("file", type=FILE)
@by_option
@config_option
@json_option
def imports_load(file: Path, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Save the profile that stands in FILE as JSON; under a known name it is the next version."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputInvalid(f"{file} cannot be read as a text in UTF-8.", remedy="Check the path.") from None
    reply = _save(text, person_in_charge(by), config_file)
    show(reply, as_json, lambda: [f"Saved {reply.summary.name}, version {reply.summary.version}."])


@imports.command("delete")
@click.argument("name")
@by_option
@config_option
@json_option
def imports_delete(name: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Delete a profile. Its versions stay in the database, so that old imports can be explained."""
    from candor_wire.v1 import intake_pb2

    person = person_in_charge(by)
    request = intake_pb2.DeleteProfileRequest(name=name, by=person)
    with running_node(config_file, by=person, stub=stub()) as node:
        reply = node.DeleteProfile(request, timeout=_SECONDS)
    show(reply, as_json, lambda: ["Deleted."])


def _save(text: str, person: str, config_file: Path | None) -> Any:
    from candor_wire.v1 import intake_pb2

    with running_node(config_file, by=person, stub=stub()) as node:
        return node.SaveProfile(intake_pb2.SaveProfileRequest(profile=text, by=person), timeout=_SECONDS)


# --- the template --------------------------------------------------------------------------------------


def write_template(path: Path, as_json: bool) -> None:
    """Write a table with every column, what each holds, and an example of each kind, and say so."""
    from candor_node import table_out
    from candor_records.template import COMMENT, template_rows

    header, *rows = template_rows()
    table_out.write(path, header, map(table_out.Line, rows))
    lines = [
        f"{path} is ready to be filled in.",
        f"Its rows that begin with {COMMENT} say what each column holds and show one record of each kind; "
        "they are passed over when it is imported.",
    ]
    show_dict({"template": str(path), "columns": header, "examples": len(rows) - 1}, as_json, lines)


# --- a proposal ----------------------------------------------------------------------------------------


def answers(
    name: str,
    maps: Sequence[str],
    words: Sequence[str],
    dates: Sequence[str],
    fixed: Sequence[str],
    ignored: Sequence[str],
    encoding: str,
    sheet: str,
) -> Profile:
    """What a person said on the command line, as a profile. Raises InputInvalid."""
    from candor_node.mapping import Profile, fold
    from candor_node.table_file import Reading

    columns = {column: fold(heading) for heading, column in (_pair(text, "--map") for text in maps)}
    values: dict[str, dict[str, str]] = {}
    for text in words:
        place, code = _pair(text, "--value")
        column, colon, word = place.partition(":")
        if not colon:
            raise InputInvalid(
                "--value is COLUMN:WORD=CODE.", remedy="For example record_kind:Fired=TERMINATION_FOR_CAUSE."
            )
        values.setdefault(column.strip(), {})[fold(word)] = code
    return Profile(
        name,
        Reading(encoding=encoding, sheet=sheet),
        columns,
        values,
        dict(_pair(text, "--date") for text in dates),
        dict(_pair(text, "--set") for text in fixed),
        tuple(dict.fromkeys(map(fold, ignored))),
    )


def _pair(text: str, option: str) -> tuple[str, str]:
    left, equals, right = text.rpartition("=")
    if not equals or not left.strip():
        raise InputInvalid(
            f"{option} needs a = between two parts.", remedy="`candor-node import --help` shows how."
        )
    return left.strip(), right.strip()


def propose(
    file: Path, said: Profile, save_as: str, person: str, config_file: Path | None, as_json: bool
) -> bool:
    """Print a proposal for `file`, and save it if nothing is open; whether what was asked for was done."""
    from dataclasses import replace

    from candor_node import mapping, mapping_proposals, table_file

    reading = replace(said.reading, delimiter=table_file.delimiter_of(file, said.reading.encoding))
    header, rows = table_file.table(file, reading)
    proposal = mapping_proposals.propose(said.name, header, rows, replace(said, reading=reading))
    text = mapping.format_profile(proposal.profile)
    lines = _proposal_lines(proposal)
    if save_as and not proposal.questions:
        saved = _save(text, person, config_file)
        lines.append(
            f"Saved as {save_as}, version {saved.summary.version}. Read a file by it: --profile {save_as}"
        )
    elif save_as:
        lines.append(
            f"Not saved: {len(proposal.questions)} questions are open. Answer them and propose again."
        )
    elif not proposal.questions:
        lines.append("Nothing is open. Save it: --save-profile NAME")
    shown = {
        "profile": json.loads(text),
        "questions": list(proposal.questions),
        "columns": [
            {
                "column": one.column,
                "heading": one.heading,
                "confidence": one.confidence,
                "certain": one.certain,
            }
            for one in proposal.columns
        ],
    }
    show_dict(shown, as_json, lines)
    # Whoever asked for it to be saved, a script perhaps, must not go on as if it were.
    return not (save_as and proposal.questions)


def _proposal_lines(proposal: Proposal) -> list[str]:
    profile = proposal.profile
    rows = [
        (one.column, one.heading, f"{one.confidence}%", one.reason if one.certain else f"? {one.reason}")
        for one in proposal.columns
    ]
    found = {one.column for one in proposal.columns}
    rows += [
        (column, heading, "", "as you said")
        for column, heading in profile.columns.items()
        if column not in found
    ]
    rows += [(column, "", "", f"always {value or 'empty'}") for column, value in profile.fixed.items()]
    lines = table(rows, ("COLUMN", "YOUR HEADING", "SURE", "WHY"))
    lines += ["", *(f"{column} is written {form}." for column, form in profile.dates.items())]
    if proposal.words:
        lines += [
            "",
            *table(
                [(column, word, code or "?") for column, word, code in proposal.words],
                ("COLUMN", "WORD", "CODE"),
            ),
        ]
    if proposal.questions:
        lines += ["", "Open:", *(f"  {question}" for question in proposal.questions)]
    return [*lines, ""]
