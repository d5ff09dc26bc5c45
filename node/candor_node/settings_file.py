"""What is written into `node.toml`: by `init`, `join` and `move`, and by nothing else."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from candor_certs.invitation import Invitation
from candor_proto.errors import StoreUnusable
from candor_proto.ids import NodeId

_TEMPLATE = """\
# Settings of one Candor node. Every key may also come from the environment: CANDOR_NODE_<KEY>.
# Relative paths are meant from the folder of this file.

node = {node}

# Written by `candor-node join` from the invitation.
federation = ""
name = ""
oris = []
hub_address = ""
enrolment_address = ""

# Where this network lets nothing out but through an HTTP proxy: name it, or "none". Without this line it is
# as the environment's https_proxy and no_proxy say. A user and password stand in a file of mode 0600.
# proxy = "http://proxy.county.example:3128"
# proxy_credentials_file = "keys/proxy.txt"

# The database is encrypted. Its key comes from a file, from the service manager (a credential with the name
# database.key stands above the file; docs/operations.md), or from a command that prints it:
# database_key_command = "pass show candor/database-key"
database_key_file = "keys/database.key"

# How long a lookup waits for answers before it is shown; late answers amend it for 24 hours.
lookup_wait_seconds = 30
# What a lookup found is forgotten after so many days, 45 at most; what was asked stays for audits.
result_days = 45
# Records are published on a calendar, so that a new filing does not show on its day. 0 = at once (the demo).
publish_interval_hours = 168
# Records of all members together: with twice as many, twice as many strangers resemble a person, and every
# probability is lower. Without this line it is estimated from the indexes that are held.
# federation_records = 500000
# Issuers of policy packs who are trusted beside the key of this release (docs/packs.md).
# pack_issuers = ["64 hexadecimal digits"]
# Whose signatures a head of the federation's log needs here, in place of what the log says (docs/witness.md).
# log_policy = "log-policy.txt"
# Purposes for which GREEN records are released without a person.
green_purposes = ["J_APPLICANT"]
# Metrics and health for this machine's monitoring, over HTTP (docs/observability.md).
# metrics_address = "127.0.0.1:7447"
# Where backups go, best on another machine's disk, every five minutes while the node runs (docs/backup.md).
# backup_folder = "/mnt/backup"
# backup_interval_minutes = 5
# How long superseded backups, and the keys of the newest one, are kept.
# backup_keep_days = 7
# backup_keys_days = 7
# A second person reviews what is filed or imported before it can match: `candor-node records review`.
review_filings = false
"""


def replace_setting(path: Path, key: str, value: str) -> None:
    """Write one text setting into the settings file in one step; the rest stays. Raises StoreUnusable."""
    replace_text(path, _with_lines(path.read_text("utf-8"), [(key, json.dumps(value))]))


def replace_text(path: Path, text: str) -> None:
    """Replace the settings file in one step."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreUnusable(
            f"{path} cannot be written: {error.strerror}.", remedy="Make room or permissions, and join again."
        ) from None


def template(node: NodeId) -> str:
    """The settings file that `init` writes."""
    return _TEMPLATE.format(node=json.dumps(str(node)))


def fill_in(text: str, invitation: Invitation, hub_address: str) -> str:
    """`text` with what the invitation and the hub say; comments and other settings stay as they are."""
    lines = [
        ("enrolment_address", json.dumps(invitation.enrolment_address)),
        ("hub_address", json.dumps(hub_address)),
        ("oris", json.dumps([str(invitation.ori)])),
        ("name", json.dumps(invitation.agency_name, ensure_ascii=False)),
        ("federation", json.dumps(str(invitation.federation))),
    ]
    return _with_lines(text, lines)


def _with_lines(text: str, lines: Sequence[tuple[str, str]]) -> str:
    for key, value in lines:
        line = f"{key} = {value}"
        found = re.search(rf"^{key}\s*=.*$", text, re.MULTILINE)
        # A key that somebody removed goes to the top, before any table.
        text = text[: found.start()] + line + text[found.end() :] if found else f"{line}\n{text}"
    return text
