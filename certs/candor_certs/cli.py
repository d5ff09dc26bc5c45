"""`candor-certs`: make and look at the federation's authorities.

The edge: it reads the clock, prints, and turns every error into a sentence, a remedy and exit status 2.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from candor_proto.errors import CandorError, InputInvalid
from candor_proto.ids import FederationName

if TYPE_CHECKING:
    from cryptography import x509

EXIT_ERROR = 2
_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  # the edge reads the clock


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="candor-exchange", prog_name="candor-certs")
def cli() -> None:
    """Make and inspect the certificates of a Candor federation.

    A federation has one ROOT authority (10 years). Its key is needed once a year and otherwise belongs in a
    safe, on a medium that is not connected to anything. The root certifies an ISSUING authority (1 year),
    whose key the hub uses to certify the members' nodes (7 days each).

    \b
    A ceremony, on a machine without a network (docs/ceremony.md has all of it):
      candor-certs root create --persons 2 --federation exchange.example.org --out /media/safe/root
      candor-certs issuing create --root /media/safe/root --out /media/transfer/issuing
      candor-certs issuing check /media/transfer/issuing --root /media/safe/root/root.crt

    Carry only the issuing folder to the hub. Publish the root's fingerprint where every agency can see it.
    """


@cli.group()
def root() -> None:
    """The root authority: what every member trusts."""


@root.command("create")
@click.option(
    "--federation", required=True, help="Name of the federation, such as exchange.example.org: for good."
)
@click.option(
    "--out",
    required=True,
    type=_FOLDER,
    help="New folder for root.key and root.crt, best on removable media.",
)
@click.option(
    "--persons",
    type=click.IntRange(0, 5),
    default=0,
    show_default=True,
    help="So many persons get a code each, and the key opens with all of them. 0: whoever has the file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def root_create(federation: str, out: Path, persons: int, as_json: bool) -> None:
    """Make a root authority: root.key (secret, 10 years) and root.crt (for everybody).

    Whoever has root.key, and the codes if there are any, can invent members. Nothing is overwritten.
    """
    from candor_certs import codes
    from candor_certs.authority import create_root
    from candor_certs.folders import ROOT_CERTIFICATE, ROOT_KEY, save_root
    from candor_certs.store import refuse_existing

    refuse_existing(out / ROOT_KEY, out / ROOT_CERTIFICATE)
    drawn = [codes.draw() for _ in range(persons)]
    for number, code in enumerate(drawn, 1):
        _hand_out(number, code)
    authority = create_root(FederationName(federation), _now())
    save_root(authority, out, drawn)
    report = _describe(authority.certificate, out / ROOT_CERTIFICATE)
    _print(
        [report],
        as_json,
        f"Keep {out / ROOT_KEY} offline. Every agency compares the fingerprint above before it joins.",
    )


@cli.group()
def issuing() -> None:
    """The issuing authority: what the hub certifies members with."""


@issuing.command("create")
@click.option("--root", "root_folder", required=True, type=_FOLDER, help="The root's folder, with its key.")
@click.option(
    "--out", required=True, type=_FOLDER, help="New folder for issuing.key, issuing.crt and chain.crt."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def issuing_create(root_folder: Path, out: Path, as_json: bool) -> None:
    """Make an issuing authority under the root: issuing.key (secret, 1 year), issuing.crt, chain.crt.

    Do it again before the year ends: nothing the authority certified outlives it.
    """
    from candor_certs.authority import create_issuing
    from candor_certs.folders import CHAIN, load_root, persons, save_issuing

    above = load_root(root_folder, _ask_for_codes(persons(root_folder)))
    authority = create_issuing(above, above.federation, _now())
    save_issuing(authority, out)
    reports = [
        _describe(certificate, out / CHAIN) for certificate in (authority.certificate, above.certificate)
    ]
    _print(
        reports,
        as_json,
        f"Carry the folder {out} to the hub: `candor-hub init --issuing`, or for a hub that runs\n"
        "`candor-hub issuing adopt`.",
    )


@issuing.command("check")
@click.argument("folder", type=_FOLDER)
@click.option("--root", "root_file", required=True, type=_FILE, help="The root's certificate: root.crt.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def issuing_check(folder: Path, root_file: Path, as_json: bool) -> None:
    """Check that FOLDER is whole, its key fits, and this root certified it; exit status 2 if not."""
    from candor_certs.folders import CHAIN, load_issuing
    from candor_certs.store import read_certificates

    authority = load_issuing(folder)
    if (authority.root,) != read_certificates(root_file):
        raise InputInvalid(
            f"The authority in {folder} was certified by another root than that of {root_file}.",
            remedy="Compare the fingerprints: `candor-certs show`.",
        )
    report = _describe(authority.certificate, folder / CHAIN)
    if report["expired"]:
        raise InputInvalid(f"It ended on {report['not_after']}.", remedy="Make a new one under the root.")
    _print([report | {"verified": True}], as_json, f"Key and certificates of {folder} belong together.")


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(path: Path, as_json: bool) -> None:
    """Show the certificates of a FILE (PEM), or of all .crt and .pem files of a folder.

    Nothing is verified: this says what a certificate claims. See `candor-certs verify`.
    """
    from candor_certs.store import read_certificates

    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".crt", ".pem"))
        if not files:
            raise InputInvalid(f"{path} holds no .crt or .pem file.", remedy="Name another folder or a file.")
    reports = [_describe(certificate, file) for file in files for certificate in read_certificates(file)]
    _print(reports, as_json)


@cli.command()
@click.argument("certificate", type=_FILE)
@click.option(
    "--root", "root_file", required=True, type=_FILE, help="The root certificate to trust: root.crt."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(certificate: Path, root_file: Path, as_json: bool) -> None:
    """Check a member's CERTIFICATE file: path to the root, time, name, role, key.

    The file holds the certificate first and the issuing authority's after it (PEM). Revocation is not
    checked: the deny list is the hub's. Exit status 0 if the certificate is good now, 2 if not.
    """
    from candor_certs.chain import root_federation, verify_directory_certificate, verify_peer
    from candor_certs.names import Role
    from candor_certs.store import read_certificates

    roots = read_certificates(root_file)
    for trusted in roots:
        root_federation(trusted)
    chain = read_certificates(certificate)
    ders = [_der(each) for each in chain]
    report = _describe(chain[0], certificate)
    if report["role"] == Role.DIRECTORY.value:
        verify_directory_certificate(ders, roots, root_federation(roots[0]), _now())
    else:
        verify_peer(ders, roots, _now())
    _print([report | {"verified": True}], as_json, f"{report['name']} is good until {report['not_after']}.")


def _hand_out(number: int, code: str) -> None:
    """Show a person the code, and no longer than it takes to write it down."""
    click.echo(f"Code of person {number}: {code}")
    if not sys.stdin.isatty():
        return
    while True:
        click.pause("Write it down, and press a key: the screen is cleared.")
        click.clear()
        if _ask(number) == code:
            return
        click.echo(f"That was not it. Code of person {number}: {code}")


def _ask_for_codes(persons: int) -> list[str]:
    return [_ask(number) for number in range(1, persons + 1)]


def _ask(number: int) -> str:
    from candor_certs import codes

    while True:
        typed: str = click.prompt(f"Code of person {number}", hide_input=sys.stdin.isatty(), err=True)
        try:
            return codes.parse(typed)
        except InputInvalid as error:
            if not sys.stdin.isatty():
                raise
            click.echo(f"{error.message} {error.remedy}", err=True)


def _describe(certificate: x509.Certificate, file: Path) -> dict[str, Any]:
    """What a certificate claims, as plain values for people and machines."""
    from cryptography.exceptions import UnsupportedAlgorithm

    from candor_certs.invitation import fingerprint

    name, role = _claimed_name(certificate)
    try:
        key = certificate.public_key()
        size = getattr(key, "key_size", None)
        key_text = type(key).__name__.removesuffix("PublicKey") + (f" {size} bit" if size else "")
    except (ValueError, UnsupportedAlgorithm):
        key_text = "unreadable"
    return {
        "file": str(file),
        "name": name,
        "role": role,
        "serial": f"{certificate.serial_number:x}",
        "fingerprint": fingerprint(_der(certificate)),
        "not_before": _time(certificate.not_valid_before_utc),
        "not_after": _time(certificate.not_valid_after_utc),
        "expired": certificate.not_valid_after_utc < _now(),
        "key": key_text,
    }


def _claimed_name(certificate: x509.Certificate) -> tuple[str, str]:
    from cryptography import x509

    from candor_certs.names import parse_spiffe, parse_trust_domain

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        uris = []
    if len(uris) != 1:
        return "(not a name of a Candor federation)", "unknown"
    try:
        return uris[0], parse_spiffe(uris[0]).role.value
    except CandorError:
        pass
    try:
        parse_trust_domain(uris[0])
    except CandorError:
        return "(not a name of a Candor federation)", "unknown"
    return uris[0], "root" if certificate.issuer == certificate.subject else "issuing"


def _print(reports: Iterable[dict[str, Any]], as_json: bool, closing: str = "") -> None:
    if as_json:
        click.echo(json.dumps(list(reports), indent=2))
        return
    for report in reports:
        click.echo(f"{report['name']}  ({report['role']})")
        for label, key in (
            ("file", "file"),
            ("serial", "serial"),
            ("fingerprint", "fingerprint"),
            ("valid from", "not_before"),
            ("valid until", "not_after"),
            ("key", "key"),
        ):
            note = "  EXPIRED" if key == "not_after" and report["expired"] else ""
            click.echo(f"  {label:<12}{report[key]}{note}")
    if closing:
        click.echo(closing)


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    """Entry point."""
    try:
        cli.main(standalone_mode=False)
    except CandorError as error:
        _fail(error.message, error.remedy)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_ERROR)
    except (click.Abort, KeyboardInterrupt):
        _fail("Stopped.", "Nothing more was written.")
    except BrokenPipeError:
        sys.exit(EXIT_ERROR)


def _fail(message: str, remedy: str) -> None:
    click.echo(f"candor-certs: {message}", err=True)
    if remedy:
        click.echo(f"  {remedy}", err=True)
    sys.exit(EXIT_ERROR)
