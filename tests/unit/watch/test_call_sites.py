"""Every line that node and hub can log, read from the sources: constant events, keys of the allow-list."""

from __future__ import annotations

import re

import pytest

from candor_watch.redaction import ALLOWED
from tests.unit.watch.call_sites import ROOT, of_source, packages, sites, streams


def test_every_call_site_logs_a_constant_event_under_allowed_keys() -> None:
    found = sites()
    assert len(found) > 60, "the reader of call sites finds too few of them to be believed"
    assert {site.place: site.faults for site in found if site.faults} == {}


@pytest.mark.parametrize(
    "line",
    [
        "log.info(f'lookup of {name}')",
        "log.info('lookup of %s' % name)",
        "log.info('lookup', name)",
        "log.info('lookup', surname=name)",
        "log.info('lookup', **fields)",
        "log.info('lookup', reason=error.message)",
        "log.info('lookup', code=error.code, reason=f'{name} failed')",
        "log.info('lookup', node='a' + name)",
        "log.info('lookup', node=','.join(names))",
        "log.info('lookup', node=repr(record))",
        "log.info('lookup', node=render(record))",
        "self._log.info('lookup', birth_date=born)",
        "log.bind(name=name).info('lookup')",
        "logging.info('lookup of ' + name)",
    ],
    ids=lambda line: line.split("(", 1)[1][:24],
)
def test_the_reader_bites(line: str) -> None:
    assert [site for site in of_source(line, "planted") if site.faults], line


@pytest.mark.parametrize(
    "line",
    [
        "log.info('attached', node=str(node))",
        "log.error('failed', method=method, code=getattr(error, 'code', code), exc_info=error)",
        "log.warning('not attached', code=error.code, reason=error.message)",
        "log.info('attach again', in_seconds=round(delay, 1), failures=failures)",
    ],
    ids=lambda line: line.split("(", 1)[1][:24],
)
def test_the_reader_lets_plain_lines_pass(line: str) -> None:
    assert [site.faults for site in of_source(line, "planted")] == [()]


def test_services_write_to_no_stream_past_the_log() -> None:
    """Commands print for people through `click.echo`; what prints otherwise prints past the redaction."""
    quiet = [path for path in packages() if path.name not in {"candor_verify", "candor_certs"}]
    assert [line for package in quiet for line in streams(package)] == []


def test_the_documented_keys_are_the_allowed_ones() -> None:
    text = (ROOT / "docs/observability.md").read_text("utf-8")
    table = text.split("<!-- keys -->")[1].split("<!-- /keys -->")[0]
    documented = dict(re.findall(r"^\| `([a-z0-9_]+)` \| (.+?) \|$", table, re.MULTILINE))
    assert documented == {key: meaning for key, (meaning, _) in ALLOWED.items()}
