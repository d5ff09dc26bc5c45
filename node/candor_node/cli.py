"""`candor-node`: the agency's commands.

The edge: it prints, asks people, and turns every error into a sentence, a remedy and an exit status. The
commands stand in the modules `cli_…`, one for each room.
"""

from __future__ import annotations

import rich_click as click

from candor_node import (
    cli_acts,
    cli_audit,
    cli_backup,
    cli_batch,
    cli_desk,
    cli_drafts,
    cli_export,
    cli_import,
    cli_imports,
    cli_lookup,
    cli_match,
    cli_move,
    cli_node,
    cli_office,
    cli_packs,
    cli_recalls,
    cli_receipts,
    cli_records,
    cli_requests,
    cli_retention,
    cli_review,
    cli_subject,
    cli_witness,
)
from candor_node.cli_common import guarded

# Their commands belong to the group `records`, which they join when they are imported.
_MORE_OF_RECORDS = (cli_acts, cli_drafts, cli_retention)
# And these to `audit`.
_MORE_OF_AUDIT = (cli_audit,)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="candor-exchange", prog_name="candor-node")
def cli() -> None:
    """Run an agency's node of a Candor federation, and work with it.

    The node keeps the agency's records, asks other agencies about applicants without telling anybody who is
    asked about, and answers what others ask. It only dials out; all that listens is a socket in its folder.

    \b
    First day:
      mkdir node && cd node
      candor-node join ../invitation.txt            (makes the node, and asks you to compare a fingerprint)
      candor-node run                               (keep it running; a service does that)
      candor-node import records.csv

    \b
    Every day:
      candor-node lookup --first Jo --last Doe --birth-date 1990-02-03 --purpose J_APPLICANT \\
          --case REQ-17 --consent C-17 --officer "Inv. Roe"
      candor-node batch class.csv --out result.csv --case REQ-17 --consent C-17 --officer "Inv. Roe"
      candor-node requests send LOOKUP HIT          (after a person has looked at the candidate)
      candor-node requests list                     (what others ask of this agency)

    \b
    Exit status: 0 done (a lookup: MATCH or NO_RECORD) · 1 something failed, here or elsewhere ·
                 2 what was typed, set up or reachable is not right · 3 a lookup is INCOMPLETE
    """


for _command in (
    cli_node.init,
    cli_node.join,
    cli_node.run,
    cli_node.status,
    cli_node.doctor,
    cli_import.import_,
    cli_imports.imports,
    cli_records.publish,
    cli_desk.records,
    cli_backup.backup,
    cli_backup.restore,
    cli_records.audit,
    cli_lookup.lookup,
    cli_lookup.lookups,
    cli_batch.batch,
    cli_batch.batches,
    cli_requests.requests,
    cli_recalls.recalls,
    cli_match.match,
    cli_packs.packs,
    cli_office.users,
    cli_office.approvals,
    cli_subject.subject,
    cli_review.review,
    cli_witness.witness,
    cli_move.move,
    cli_move.directory,
    cli_move.log_group,
):
    cli.add_command(_command)


for _command in (cli_export.export, cli_export.attach, cli_export.verify_documents):
    cli_desk.records.add_command(_command)


cli_lookup.lookups.add_command(cli_receipts.lookup_receipts)
cli_requests.requests.add_command(cli_receipts.request_receipt)


def main() -> None:
    """Entry point."""
    guarded(lambda: cli.main(standalone_mode=False))
