"""Every command on the page for operators exists, and so do its options; tests/fresh.py runs five of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import candor_certs.cli
import candor_hub.cli
import candor_node.cli
import candor_verify.cli

ROOT = Path(__file__).resolve().parents[3]
PAGES = (
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
    "deploy/kubernetes/README.md",
    "deploy/Containerfile",
    "deploy/compose.yaml",
    "README.md",
)
PROGRAMS: dict[str, click.Command] = {
    "candor-node": candor_node.cli.cli,
    "candor-hub": candor_hub.cli.cli,
    "candor-certs": candor_certs.cli.cli,
}
# What a machine has besides us; each with the words that our pages use it with.
OTHERS = {
    *(
        "sha256sum",
        "tar",
        "sh",
        "systemctl",
        "install",
        "systemd-creds",
        "ln",
        "journalctl",
        "curl",
        "cp",
        "export",
        "mkdir",
        "chmod",
        "touch",
        "echo",
        "exec",
    ),
    *(
        "pg_basebackup",
        "pg_receivewal",
        "pg_verifybackup",
        "pip",
        "python3",
        "make",
        "podman",
        "kubectl",
        ".venv/bin/python",
    ),
}
VERIFY = "candor-verify"


def lines(text: str) -> Iterator[str]:
    """The lines of blocks of commands, and what stands in backquotes and begins with a program of ours."""
    for kind, block in re.findall(r"^```([a-z]*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            ours = line.removeprefix("$ ").removeprefix("sudo ").split(" ")[0] in {*PROGRAMS, VERIFY}
            # What may be left out stands in brackets.
            if kind == "sh" or ours:
                yield re.sub(r"\[([^\]]*)\]", r"\1", line.removeprefix("$ "))
    for word in re.findall(r"`([^`\n]+)`", text):
        if word.removeprefix("sudo ").split(" ")[0] in PROGRAMS and "…" not in word and "|" not in word:
            yield word


def cases() -> list[tuple[str, str]]:
    found = {
        (page, line) for page in PAGES for line in lines((ROOT / page).read_text("utf-8")) if line.strip()
    }
    return sorted(found)


def parse(words: list[str]) -> None:
    """Raises click's own errors for what our program would not take; nothing is run."""
    command: click.Command = PROGRAMS[words[0]]
    context = click.Context(command, info_name=words[0])
    rest = words[1:]
    while isinstance(command, click.Group) and rest:
        if rest[0].startswith("-"):
            command.make_parser(context).parse_args(list(rest))
            return
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None, f"{words[0]} has no command {rest[:1]}"
        command = found
        context = click.Context(command, info_name=name, parent=context)
    # The parser alone: what is missing or of another type is not judged, for a page may name less.
    command.make_parser(context).parse_args(list(rest))


@pytest.mark.parametrize(
    ("page", "line"), cases(), ids=lambda value: value if "/" in value and " " not in value else value[:60]
)
def test_a_command_of_the_page_is_one(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    if ">" in words:
        words = words[: words.index(">")]
    if words[:1] == ["sudo"]:
        words = words[1:]
    if words[0] in PROGRAMS:
        parse(words)
    elif words[0] == VERIFY:
        candor_verify.cli._parser().parse_args(words[1:])
    else:
        assert words[0] in OTHERS, f"{page}: {line}"
    if words[0] == "systemctl" and words[1] not in ("edit", "daemon-reload"):
        unit = re.sub("@.*", "@", words[-1])
        assert (ROOT / "deploy/systemd" / f"{unit}.service").exists(), line


def test_what_is_no_command_is_noticed() -> None:
    for wrong in (
        ["candor-node", "jion", "x"],
        ["candor-node", "join", "x", "--finger", "y"],
        ["candor-hub", "log", "status", "--jsn"],
    ):
        with pytest.raises(click.UsageError):
            parse(wrong)


def test_the_page_knows_every_bad_day() -> None:
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    for day in (
        "key is lost",
        "compromised",
        "hub is dead",
        "ordered off",
        "forked",
        "Certificates have ended",
        "disk is full",
        "restored backup",
        "quorum is lost",
        "stolen laptop",
    ):
        assert day in page, day
