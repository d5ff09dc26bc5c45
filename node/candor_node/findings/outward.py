"""Checks of the way to the hub, step by step: name, proxy, TLS, the hub itself, clocks, versions, the log."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from candor_certs.names import hub_dns_name
from candor_certs.store import read_certificates
from candor_node.findings.look import HubSaid, Look, not_joined
from candor_node.findings.readings import Readings
from candor_node.proxy import open_socket
from candor_proto.errors import CandorError, ClockWrong, Unreachable
from candor_watch import network
from candor_watch.findings import Check, Figure, Finding, bad, good, in_thread, unknown, warning
from candor_watch.versions import own_version, skew

CLOCK_WARNING = timedelta(minutes=1)


class Outward:
    """Checks that leave this machine. Each stands alone: of what is in the way the first `bad` one tells."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._config = look.config

    def checks(self) -> Mapping[str, Check]:
        return {
            "dns": self.dns,
            "proxy": self.proxy,
            "tls": self.tls,
            "hub": self.hub,
            "clock": lambda: self._needs_hub("clock", self.clock),
            "version": lambda: self._needs_hub("version", self.version),
            "log_reach": lambda: self._needs_hub("log_reach", self.log_reach),
            "quota": lambda: self._needs_hub("quota", self.quota),
        }

    async def _needs_hub(self, key: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
        """What the hub has to be asked for; that it cannot be asked is said once, by `hub`."""
        try:
            return await check()
        except ClockWrong:
            raise
        except CandorError:
            return unknown(key, "The hub has to be asked, and cannot be: see `hub`.")

    async def dns(self) -> Finding:
        if not self._look.joined:
            return not_joined("dns")
        proxy = await in_thread(self._look.proxy)
        host = proxy.host if proxy else self._config.hub_address.rpartition(":")[0]
        return await in_thread(lambda: network.dns("dns", host))

    async def proxy(self) -> Finding:
        """A tunnel to the hub's address is asked for, with whatever proves who asks."""
        if not self._look.joined:
            return not_joined("proxy")
        proxy = await in_thread(self._look.proxy)
        if proxy is None:
            return good("proxy", "No proxy is named: connections go out directly.")

        def work() -> Finding:
            open_socket(self._config.hub_address, proxy, network.PROBE_SECONDS).close()
            told = f"The proxy {proxy.address} ({proxy.source}) opens a way to {self._config.hub_address}."
            return good("proxy", told, proxy=proxy.address)

        return await in_thread(work)

    async def tls(self) -> Finding:
        if not self._look.joined:
            return not_joined("tls")
        proxy, address = await in_thread(self._look.proxy), self._config.hub_address

        def connect() -> socket.socket:
            return open_socket(address, proxy, network.PROBE_SECONDS)

        def work() -> Finding:
            roots = read_certificates(self._config.root_certificates_file)
            name = hub_dns_name(self._config.federation_name)
            try:
                return network.tls("tls", connect, roots, name, address)
            except Unreachable as error:
                return unknown("tls", f"Nothing could be looked at: {error.message}", error.remedy)

        return await in_thread(work)

    async def hub(self) -> Finding:
        if not self._look.joined:
            return not_joined("hub")
        status = await self._look.status()
        if status is not None and not status.attached:
            raise Unreachable(
                status.trouble or "The running node is not attached to the hub yet.",
                remedy="It is tried again; see what is said above about name, proxy and TLS.",
            )
        await self._look.hub_said()
        told = f"The hub at {self._config.hub_address} takes this node's calls"
        return good("hub", told + (", and the running node is attached." if status is not None else "."))

    async def clock(self) -> Finding:
        """Of a running node by what the hub told it when it attached, and by a stream of our own else."""
        if not self._look.joined:
            return not_joined("clock")
        status = await self._look.status()
        if status is not None:
            if not status.attached:
                told = status.trouble or "The running node is not attached to the hub, which tells the time."
                if "node's certificate" in told:
                    # It ended by this clock; the hub, which could say more, does not take it any more.
                    remedy = "See `certificate`. If this machine's clock is wrong, set it: that heals both."
                    return unknown("clock", f"Only the hub could say, and: {told}", remedy)
                return (
                    bad("clock", told, "Set the clock that is wrong.")
                    if "clock" in told
                    else unknown("clock", told)
                )
            return good("clock", "The running node is attached, and compares clocks every 20 seconds.")
        said: HubSaid = await self._look.hub_said()
        said.check_clock()
        assert said.time is not None, "asked, for no node runs"
        difference = said.asked_at - said.time
        figures: dict[str, Figure] = {"difference_seconds": round(difference.total_seconds(), 1)}
        told = f"The hub's clock and this machine's differ by {abs(difference).total_seconds():.1f} s."
        if abs(difference) > CLOCK_WARNING:
            return warning("clock", told, "Set this machine's clock before it is five minutes.", **figures)
        return good("clock", told, **figures)

    async def version(self) -> Finding:
        if not self._look.joined:
            return not_joined("version")
        status = await self._look.status()
        own, theirs = own_version(), status.hub_version if status is not None else ""
        if not theirs:
            said: HubSaid = await self._look.hub_said()
            theirs = said.version
        found = skew("version", own, theirs, "hub")
        if status is not None and status.version and status.version != own:
            told = f"The running node is version {status.version}, and {own} is installed."
            return warning("version", told, "Restart the node.", own=status.version, installed=own)
        return found

    async def log_reach(self) -> Finding:
        if not self._look.joined:
            return not_joined("log_reach")
        said: HubSaid = await self._look.hub_said()
        found: Readings = await self._look.readings()
        figures: dict[str, Figure] = {"seen_entries": found.log_size, "served_entries": said.log_size}
        if said.log_size is None:
            return unknown(
                "log_reach", "No head of the log is held yet, so none could be asked for.", "", **figures
            )
        if said.log_size < found.log_size:
            told = (
                f"{said.log_size:,} entries of {found.log_origin} are served; {found.log_size:,} were seen."
            )
            remedy = "Keep this node's database and call other members: a log does not become shorter."
            return bad("log_reach", told, remedy, **figures)
        told = f"The hub serves {said.log_size:,} entries of {found.log_origin}; {found.log_size:,} are here."
        return good("log_reach", told, **figures)

    async def quota(self) -> Finding:
        if not self._look.joined:
            return not_joined("quota")
        said: HubSaid = await self._look.hub_said()
        total = self._config.quota.total
        share = said.quota.total / total if total else 1.0
        figures: dict[str, Figure] = {"left": said.quota.total, "share": round(min(share, 1.0), 3)}
        if share < 0.1:
            told = f"Of {total:,} elements in 30 days {said.quota.total:,} are left."
            remedy = "Wait, or ask the hub's operator for more; batches pause by themselves."
            return warning("quota", told, remedy, **figures)
        return good("quota", f"The hub lets this node ask {said.quota.total:,} elements more.", **figures)
