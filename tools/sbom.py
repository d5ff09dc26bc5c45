"""The bill of materials of a release (CycloneDX 1.6, JSON): what is installed, its octets, its licence.

    python -m tools.sbom [--out FILE]        of this checkout, for a look at it

Rules of this file:
- the list is that of deploy/requirements.lock on Linux: names, versions and SHA-256 come from it alone;
- licences and dependencies come from the metadata of the very versions that are installed here, read by the
  CycloneDX tool; where a package declares none, tools/sbom.toml says it, with the place where it stands;
- C libraries inside a wheel are components of that wheel: a hole in OpenSSL is looked for under OpenSSL;
- the same release has the same bill, to the octet: it has no serial number, and the time of its commit.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.markers import Marker

from tools.release import DEPLOY, ROOT, ReleaseRefused, Source, locked

TABLE = Path(__file__).with_name("sbom.toml")
# Whose machines a release is for; what only others need is not in the bill.
PLATFORM = {
    "os_name": "posix",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "python_version": "3.11",
    "python_full_version": "3.11.0",
}
_WANTED = ("type", "bom-ref", "name", "version", "licenses", "purl")


def bill_of_materials(version: str, lock: Path, wheel_sha256: str, epoch: int) -> dict[str, Any]:
    """The bill as JSON; raises ReleaseRefused for a package without a licence, or another version here."""
    blocks = {name: block for name, block in locked(lock).items() if _is_for_linux(block)}
    installed = _installed()
    table = tomllib.loads(TABLE.read_text("utf-8"))
    components, faults = [], []
    for name, block in sorted(blocks.items()):
        component = installed["components"].get(name)
        number = re.split(r"[ ;\\]", block.partition("==")[2], maxsplit=1)[0]
        if component is None or component["version"] != number:
            faults.append(f"{name} {number} is not what is installed here")
            continue
        made = {key: component[key] for key in _WANTED if key in component}
        if not made.get("licenses"):
            if name not in table["licences"]:
                faults.append(f"{name} declares no licence: look it up and add it to tools/sbom.toml")
                continue
            made["licenses"] = [{"license": {"id": table["licences"][name], "acknowledgement": "concluded"}}]
        made["hashes"] = [
            {"alg": "SHA-256", "content": digest}
            for digest in sorted(re.findall(r"sha256:([0-9a-f]{64})", block))
        ]
        if inside := _inside(name, number, table):
            made["components"] = inside
        components.append(made)
    if faults:
        raise ReleaseRefused("; ".join(faults))
    references = {component["bom-ref"] for component in components}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application",
                "bom-ref": f"candor-exchange=={version}",
                "name": "candor-exchange",
                "version": version,
                "purl": f"pkg:pypi/candor-exchange@{version}",
                "licenses": [{"license": {"id": "Apache-2.0", "acknowledgement": "declared"}}],
                "hashes": [{"alg": "SHA-256", "content": wheel_sha256}],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": f"candor-exchange=={version}", "dependsOn": sorted(installed["direct"] & references)},
            *(
                {"ref": reference, "dependsOn": sorted(set(needs) & references)}
                for reference, needs in sorted(installed["dependencies"].items())
                if reference in references
            ),
        ],
    }


def check_bill(text: str) -> None:
    """Raises ReleaseRefused unless `text` is CycloneDX 1.6 by its schema, strictly."""
    # Its grammars take two seconds, which only whoever checks a bill is to wait.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault is not None:
        raise ReleaseRefused(f"The bill of materials is not CycloneDX 1.6: {fault}")


def write_bill(bill: dict[str, Any], path: Path) -> None:
    text = json.dumps(bill, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    check_bill(text)
    path.write_text(text, "utf-8")


def _is_for_linux(block: str) -> bool:
    marker = re.match(r"[^\n\\]*;\s*([^\\\n]+)", block)
    return marker is None or Marker(marker[1].strip()).evaluate({**PLATFORM, "extra": ""})


def _installed() -> dict[str, Any]:
    """What the CycloneDX tool reads out of this environment: components by name, who needs whom."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--no-validate"),
            *("--spec-version", "1.6", "--pyproject", str(ROOT / "pyproject.toml"), sys.executable),
        ],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"},
    )
    if done.returncode:
        raise ReleaseRefused(f"The environment cannot be read: {done.stderr.strip()[-500:]}")
    found = json.loads(done.stdout)
    own = found["metadata"]["component"]["bom-ref"]
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in found["dependencies"]}
    return {
        "components": {_normal(component["name"]): component for component in found["components"]},
        "dependencies": needs,
        "direct": set(needs.get(own, [])),
    }


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- libraries inside wheels --------------------------------------------------------------------------


def _inside(name: str, number: str, table: dict[str, Any]) -> list[dict[str, Any]]:
    """The C libraries that the wheel `name` carries: as they say themselves, else as the table says."""
    versions = _VERSIONS[name]() if name in _VERSIONS else table["versions"].get(f"{name} {number}", {})
    return [
        {
            "type": "library",
            "bom-ref": f"{name}/{library}=={number}",
            "name": library,
            "version": number,
            "licenses": [{"license": {"id": table["inside"][library], "acknowledgement": "concluded"}}],
        }
        for library, number in versions.items()
    ]


def _sqlcipher() -> dict[str, str]:
    from sqlcipher3 import dbapi2

    connection = dbapi2.connect(":memory:")
    connection.execute("PRAGMA key = 'any'")  # without one it does not say whose ciphers it has
    cipher = str(connection.execute("PRAGMA cipher_version").fetchone()[0]).split()[0]
    library = str(connection.execute("PRAGMA cipher_provider_version").fetchone()[0]).split()[1]
    connection.close()
    return {"sqlite": dbapi2.sqlite_version, "sqlcipher": cipher, "openssl": library}


def _openssl() -> dict[str, str]:
    from cryptography.hazmat.backends.openssl import backend

    return {"openssl": backend.openssl_version_text().split()[1]}


def _libpq() -> dict[str, str]:
    from psycopg import pq

    number = pq.version()
    return {"libpq": f"{number // 10_000}.{number % 10_000}"}


_VERSIONS = {
    "sqlcipher3": _sqlcipher,
    "cryptography": _openssl,
    "psycopg-binary": _libpq,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.sbom", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist/candor-exchange.cdx.json")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        bill = bill_of_materials(Source(ROOT, (), 0).version, DEPLOY / "requirements.lock", "0" * 64, 0)
        write_bill(bill, options.out)
    except ReleaseRefused as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
