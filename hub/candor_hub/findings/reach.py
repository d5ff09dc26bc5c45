"""Checks of how a hub is reached: that it runs and is ready, its name, what it shows, its clock, its log."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta

from candor_certs.lifetime import span
from candor_certs.names import hub_dns_name
from candor_hub.findings.look import Look, Stored
from candor_hub.keys import HubKeys
from candor_hub.tlog.files import CHECKPOINT
from candor_proto.errors import CandorError
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_watch import network
from candor_watch.addresses import split_address
from candor_watch.findings import Check, Figure, Finding, bad, good, in_thread, unknown, warning
from candor_watch.redaction import sentence

# As between members (docs/protocol.md §8.4).
CLOCK_TOLERANCE = timedelta(minutes=5)
MAX_CHECKPOINT_OCTETS = 1 << 20
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not listened on


class Reach:
    """Checks that dial: this machine's own ports, under the names that members use."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._config = look.config

    def checks(self) -> Mapping[str, Check]:
        return {
            "service": self.service,
            "dns": self.dns,
            "tls": self.tls,
            "clock": self.clock,
            "log_reach": self.log_reach,
        }

    async def service(self) -> Finding:
        told = await self._look.running()
        if told is None:
            where = self._config.metrics_address or "`metrics_address`, which is off"
            remedy = "Start it: candor-hub run, or its service; or look at its log."
            return warning("service", f"No hub answers at {where}.", remedy)
        figures: dict[str, Figure] = {"version": str(told.get("version", "")), "pid": told.get("pid")}
        if told.get("ready") is not True:
            reasons = told.get("reasons")
            why = " ".join(map(str, reasons.values())) if isinstance(reasons, dict) else "it does not say why"
            return bad(
                "service",
                f"The hub runs and is not ready: {sentence(why)}",
                "See below, and its log.",
                **figures,
            )
        return good("service", f"The hub runs (version {figures['version']}) and is ready.", **figures)

    async def dns(self) -> Finding:
        host = self._config.public_address.rpartition(":")[0]
        return await in_thread(lambda: network.dns("dns", host))

    async def tls(self) -> Finding:
        """Under the address that members dial, which may lead here over a balancer or a proxy."""
        config, keys = self._config, await self._look.keys()
        host, port = _dialled(config.public_address)
        if not port:
            return unknown("tls", "The address leaves the port to the system.", "Name a port in `address`.")

        def connect() -> socket.socket:
            return socket.create_connection((host, port), timeout=network.PROBE_SECONDS)

        found = await in_thread(
            lambda: network.tls(
                "tls", connect, [keys.root], hub_dns_name(config.federation), config.public_address
            )
        )
        if found.state == "unknown" and await self._look.running() is not None:
            told = f"The hub runs, and nothing answers at {config.public_address}."
            return bad("tls", told, "Check firewall, balancer and `public_address`.", **found.figures)
        return found

    async def clock(self) -> Finding:
        """A clock that was set back leaves things behind that were signed in what is now the future."""
        stored: Stored = await self._look.stored()
        apart = stored.clock_ahead
        if abs(apart) > CLOCK_TOLERANCE:
            word = "ahead of" if apart > timedelta(0) else "behind"
            told = (
                f"This machine's clock is {span(abs(apart))} {word} the database's; a hub here stays closed."
            )
            remedy = "Set the clock of the wrong machine (`timedatectl set-ntp true`)."
            return bad("clock", told, remedy, ahead_seconds=round(apart.total_seconds()))
        keys: HubKeys = await self._look.keys()
        signed = {
            "the directory": stored.directory_issued_at,
            "a checkpoint of the log": max(
                (each.signed_at for each in stored.shards if each.signed), default=None
            ),
            "the hub's certificate": keys.tls.chain[0].not_valid_before_utc,
        }
        newest = max((moment, what) for what, moment in signed.items() if moment is not None)
        ahead = newest[0] - self._look.now
        figures: dict[str, Figure] = {
            "newest_seconds_ago": round(-ahead.total_seconds()),
            "ahead_seconds": round(apart.total_seconds()),
        }
        if ahead > CLOCK_TOLERANCE:
            told = f"The time of {newest[1]} has not come: {newest[0]:%Y-%m-%d %H:%M} UTC."
            remedy = "Check this machine's clock against another one; members whose clocks are right go away."
            return bad("clock", told, remedy, **figures)
        return good("clock", "Nothing that was signed here carries a time that has not come.", **figures)

    async def log_reach(self) -> Finding:
        stored: Stored = await self._look.stored()
        last = stored.log.last
        host, port = _dialled(self._config.log_address)
        if last is None:
            return unknown("log_reach", "The log begins when the hub runs.")
        if not port:
            return unknown(
                "log_reach", "The address leaves the port to the system.", "Name one in `log_address`."
            )
        shard, size = last.shard, last.witnessed_size

        def work() -> Finding:
            # Its certificate may be anybody's: what is read proves itself.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection(
                host, port, timeout=network.PROBE_SECONDS, context=context
            )
            with closing(connection):
                connection.request("GET", f"/log/{shard}/{CHECKPOINT}")
                reply = connection.getresponse()
                octets = reply.read(MAX_CHECKPOINT_OCTETS)
            where = self._config.log_address
            if reply.status != 200:
                told = f"{where} answers {reply.status} for the newest checkpoint of {last.origin}."
                return bad(
                    "log_reach", told, "Look at the hub's log; `candor-hub log fsck` checks the files."
                )
            served = parse_checkpoint(octets).checkpoint
            figures: dict[str, Figure] = {"served_entries": served.size, "witnessed_entries": size}
            if served.size < size:
                told = f"{where} shows {served.size:,} entries; {size:,} are witnessed."
                return bad("log_reach", told, "Restart the hub; then `candor-hub log fsck`.", **figures)
            return good("log_reach", f"{where} shows {last.origin} with {served.size:,} entries.", **figures)

        try:
            return await in_thread(work)
        except (OSError, http.client.HTTPException):
            running = await self._look.running() is not None
            told = f"Nothing answers at {self._config.log_address}."
            if running:
                return bad("log_reach", told, "Check `log_address`, its certificate, and the firewall.")
            return unknown("log_reach", told, "See `service`.")
        except CandorError as error:
            return bad(
                "log_reach", f"What is shown is no checkpoint: {error.message}", "`candor-hub log fsck`."
            )


def _dialled(address: str) -> tuple[str, int]:
    """Where this machine dials an address that it listens on."""
    host, port = split_address(address)
    return _HERE.get(host, host), port
