"""`candor-node witness`: a witness of the log for whoever is no member, or wants one beside the node."""

from __future__ import annotations

import asyncio
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import rich_click as click

from candor_node.cli_common import FILE, FOLDER, json_option, show_dict
from candor_proto.errors import InputInvalid

if TYPE_CHECKING:
    from candor_node.tlog.witness_folder import StandingWitness
    from candor_node.tlog.witness_http import Listen

_DIR = click.option("--dir", "folder", required=True, type=FOLDER, help="The witness's folder.")


@click.group()
def witness() -> None:
    """Cosign the federation's log: for boards, courts, newsrooms, and whoever else keeps an eye on it.

    A witness signs a head of the log only if it continues the one that it signed before. With enough of them
    nobody can be shown another log than everybody else. Members do it while `candor-node run` runs; this is
    the same for others, over HTTP or HTTPS, with a folder and keys of its own. docs/witness.md tells how.
    """


@witness.command("init")
@click.option("--dir", "folder", required=True, type=FOLDER, help="New folder for the witness.")
@click.option("--name", required=True, help="Its key name, such as court.example/witness: for good.")
@click.option(
    "--log-policy",
    "policy_file",
    required=True,
    type=FILE,
    help="The log's policy, as its operator gives it.",
)
@json_option
def init_(folder: Path, name: str, policy_file: Path, as_json: bool) -> None:
    """Make a witness: keys, an empty memory, and which logs it knows. Nothing is overwritten."""
    from candor_certs.service_manager import work_as_owner
    from candor_node.clock import SystemClock
    from candor_node.tlog.witness_folder import make

    try:
        policy = policy_file.read_bytes()
    except OSError as error:
        raise InputInvalid(
            f"{policy_file} cannot be read: {error.strerror}.", remedy="Check the path."
        ) from None
    work_as_owner(folder.absolute().parent)
    keys = make(folder, name, policy, SystemClock().now())
    lines = [key.encode() for key in keys.verifier_keys]
    show_dict(
        {"folder": str(folder), "name": name, "verifier_keys": lines},
        as_json,
        [
            f"The witness {name} is in {folder}. Give its second key and its address to the hub's operator:",
            *lines,
            f"Next: candor-node witness run --dir {quote(str(folder))}"
            " --listen 0.0.0.0:8443 --certificate … --key …",
        ],
    )


@witness.command("run")
@_DIR
@click.option("--listen", default="127.0.0.1:8480", show_default=True, help="Address and port.")
@click.option("--certificate", type=FILE, help="Certificate chain in PEM: it speaks HTTPS.")
@click.option("--key", type=FILE, help="The certificate's private key in PEM.")
@click.option("--json-log", is_flag=True, help="Log JSON lines.")
def run_(folder: Path, listen: str, certificate: Path | None, key: Path | None, json_log: bool) -> None:
    """Answer the logs that ask, until SIGTERM or Ctrl-C. Logs go to standard error.

    Without a certificate it speaks HTTP: behind a proxy that speaks HTTPS, or on this machine alone.
    """
    from candor_certs.service_manager import work_as_owner
    from candor_node.clock import SystemClock
    from candor_node.logs import configure
    from candor_node.tlog.witness_folder import StandingWitness

    configure(json_lines=json_log)
    work_as_owner(folder)
    where = _listen(listen, certificate, key)
    standing = StandingWitness.open(folder, SystemClock())
    try:
        asyncio.run(_serve(standing, where))
    finally:
        standing.close()


async def _serve(standing: StandingWitness, listen: Listen) -> None:
    import signal

    from candor_certs import service_manager
    from candor_node.tlog.witness_http import serving

    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with serving(standing.witness, listen) as port:
        logs = ", ".join(sorted({each.key.name for each in standing.policy.logs}))
        line = f"{standing.keys.name} answers at {listen.scheme}://{listen.host}:{port} for {logs}."
        service_manager.notify("READY=1", f"STATUS={line}")
        watchdog = asyncio.create_task(service_manager.feed_watchdog())
        click.echo(line)
        await ended.wait()
        service_manager.notify("STOPPING=1")
        watchdog.cancel()


def _listen(text: str, certificate: Path | None, key: Path | None) -> Listen:
    from candor_node.tlog.witness_http import Listen

    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise InputInvalid(f"{text!r} is no address to listen on.", remedy="Give it as ADDRESS:PORT.")
    if (certificate is None) != (key is None):
        raise InputInvalid(
            "A certificate needs its key, and the reverse.", remedy="Give both --certificate and --key."
        )
    return Listen(host.strip("[]"), int(port), certificate, key)


@witness.command("show")
@_DIR
@json_option
def show_(folder: Path, as_json: bool) -> None:
    """Show its keys, the logs that it knows, and the newest head of each that it cosigned."""
    from candor_certs.service_manager import work_as_owner
    from candor_node.tlog.witness_folder import look

    work_as_owner(folder)
    shown = look(folder)
    logs = sorted({each.key.name for each in shown.policy.logs})
    keys = [key.encode() for key in shown.keys.verifier_keys]
    heads = [
        {
            "origin": signed.checkpoint.origin,
            "size": signed.checkpoint.size,
            "root": signed.checkpoint.root.hex(),
            "cosigned_at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        }
        for signed, at in shown.cosigned
    ]
    show_dict(
        {"name": shown.keys.name, "verifier_keys": keys, "logs": logs, "heads": heads},
        as_json,
        [
            shown.keys.name,
            *keys,
            *(f"knows the log {origin}" for origin in logs),
            *(f"{head['origin']}: {head['size']} entries, cosigned {head['cosigned_at']}" for head in heads),
            *([] if heads else ["has cosigned nothing yet"]),
        ],
    )
