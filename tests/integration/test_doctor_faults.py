"""`candor-node doctor` when something is wrong for real: each fault is named, alone and beside others."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from candor_node.doctor import examine
from candor_node.findings.catalogue import CATALOGUE
from candor_watch.findings import Report, State
from tests.certificates import FlawedCertificates, federation_authority
from tests.connect_proxy import ConnectProxy
from tests.federation import Federation, federation
from tests.hub_members import FEDERATION, ShiftedClock

SECRET = "c0unty-sentinel-pass"


def set_to(settings: Path, **values: str) -> None:
    text = settings.read_text()
    for name, value in values.items():
        text = re.sub(rf"(?m)^{name} *=.*\n", "", text)
        text = f'{name} = "{value}"\n' + text
    settings.write_text(text)


def look(settings: Path, clock: ShiftedClock | None = None) -> Report:
    report: Report = asyncio.run(examine(settings, clock))
    return report


def told(report: Report, key: str, state: State, said: str) -> str:
    """The remedy of a finding that says so."""
    finding = report.of(key)
    assert (finding.state, said.casefold() in finding.detail.casefold()) == (state, True), finding
    assert finding.remedy
    return finding.remedy


def standing(folder: Path, act: Callable[[Federation, Path], Awaitable[None]] | None = None) -> Path:
    """The settings of a node that has joined and does not run; its hub runs while `act` does."""

    async def whole() -> None:
        async with federation(folder, 1) as fed:
            await fed.stop(fed.nodes[0])
            if act is not None:
                await act(fed, folder / "alpha/node.toml")

    asyncio.run(whole())
    return folder / "alpha/node.toml"


def test_what_is_in_the_way_is_called_by_its_name(tmp_path: Path) -> None:
    """A name that nobody knows, a proxy that refuses a password, one that opens TLS, and none."""

    async def act(fed: Federation, settings: Path) -> None:
        plain, port = settings.read_text(), fed.hub.hub.ports.hub
        credentials = tmp_path / "proxy.txt"
        credentials.write_text(f"county:{SECRET}\n")
        credentials.chmod(0o600)

        async def with_(**values: str) -> Report:
            settings.write_text(plain)
            set_to(settings, **values)
            return await examine(settings, fed.hub.clock)

        report = await with_()
        assert report.exit_status() == 0, report.lines()
        report = await with_(hub_address=f"hub.county.invalid:{port}")
        assert "name servers" in told(report, "dns", State.BAD, "hub.county.invalid has no address")
        async with ConnectProxy({port}) as proxy:
            proxy.credentials = "county:another"
            report = await with_(proxy=proxy.url, proxy_credentials_file=str(credentials))
            assert "password" in told(report, "proxy", State.BAD, "proxy")
            assert report.of("dns").state is State.GOOD
            assert SECRET not in repr(report.as_json())
            proxy.credentials = ""
            filter_ = FlawedCertificates(federation_authority(federation=FEDERATION))
            proxy.intercepts = filter_.self_signed()
            report = await with_(proxy=proxy.url)
            assert "untouched" in told(report, "tls", State.BAD, "flawed")
            assert report.of("proxy").state is State.GOOD
            gone = proxy.url
        told(await with_(proxy=gone), "proxy", State.BAD, gone.removeprefix("http://"))
        assert list(CATALOGUE) == [finding.key for finding in report.findings]

    standing(tmp_path, act)


def test_what_is_wrong_with_its_own_folder_is_called_by_its_name(tmp_path: Path) -> None:
    folder = standing(tmp_path).parent
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)

    def broken(break_it: Callable[[], object]) -> Report:
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        break_it()
        return look(folder / "node.toml")

    key, database = folder / "keys/signing.key", folder / "data/node.db"
    if not database.exists():
        database = next(folder.rglob("node.db"))
    report = broken(lambda: key.chmod(0o644))
    assert "chmod 600" in told(report, "permissions", State.BAD, "may be read by others (0644)")
    told(broken(key.unlink), "keys", State.BAD, "signing.key")
    report = broken(lambda: (folder / "keys/database.key").write_bytes(bytes(32)))
    told(report, "database", State.BAD, "does not fit")
    report = broken(lambda: (folder / "keys/database.key").write_bytes(bytes(7)))
    told(report, "keys", State.BAD, "7 octets")

    def damage() -> None:
        octets = bytearray(database.read_bytes())
        octets[len(octets) // 2 : len(octets) // 2 + 64] = bytes(64)
        database.write_bytes(octets)

    assert "restore the last backup" in told(broken(damage), "database", State.BAD, "damaged")

    def three() -> None:
        """Beside each other: the way out, the key's permissions, and the database."""
        set_to(folder / "node.toml", hub_address="hub.county.invalid:7443")
        key.chmod(0o644)
        damage()

    report = broken(three)
    remedies = {
        told(report, "dns", State.BAD, "hub.county.invalid"),
        told(report, "permissions", State.BAD, "0644"),
        told(report, "database", State.BAD, "damaged"),
    }
    assert len(remedies) == 3
    assert report.exit_status() == 1


def test_a_hub_that_is_down_and_an_index_that_is_old(tmp_path: Path) -> None:
    settings = standing(tmp_path)
    clock = ShiftedClock()
    clock.advance(hours=37)
    report = look(settings, clock)
    told(report, "hub", State.BAD, "")
    told(report, "index", State.BAD, "37 hours")
    # What the hub would have to say is not called wrong as well.
    assert {report.of(key).state for key in ("version", "quota", "log_reach")} == {State.UNKNOWN}
