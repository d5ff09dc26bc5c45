"""Results of lookups are forgotten when their time is over (RECORDS.md §4.4).

Rules of this file:
- a result is kept for `result_days`, at most 45: then what was found goes, hits with what explains them, the
  results of rows of batches;
- what was asked and answered stays: the search with its case and officer, its opening for audits, the signed
  answers for receipts (both for two years, `accountability.openings`), the traces, the ledger. Of a row of a
  batch the one word of its outcome and its coverage stay, for those are counts. Answers give a result again
  only together with the index of their epoch, which is gone from here when that epoch is over;
- failures that nobody has reviewed stay for their digest (`accountability.digests`);
- what late answers changed goes with the result; a late candidate that nobody acknowledged is counted;
- a record that was released upon a hit is a copy of its own and stays until its owner recalls it: of its hit
  stays what names it, so that the subject's report can say what kind of record was obtained;
- nothing is forgotten while a request about a hit is open, or was answered with what its owner must explain.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from candor_node import amendments, ledger
from candor_node.batch_file import COVERAGE, RESULTS
from candor_node.store import Database
from candor_proto.canonical import to_milliseconds
from candor_proto.disclosure import RequesterState
from candor_proto.ids import LookupId

# So many in one transaction.
AT_ONCE = 500
WORDS = "the result was forgotten: its time was over"
# Of a row's results: the outcome and, in rows of this build, the cells of its coverage.
_KEPT_CELLS = ", ".join(
    "?"
    if name == "error"
    else f"CASE WHEN json_array_length(results) = {len(RESULTS)} OR {place} < 6"
    f" THEN coalesce(results ->> '$[{place}]', '') ELSE '' END"
    if name == "outcome" or name in COVERAGE
    else "''"
    for place, name in enumerate(RESULTS)
)
# Requests whose hit is still needed: unanswered ones, and evidence.
_OPEN = f"(state = '{RequesterState.SENT.value}' OR evidence IS NOT NULL)"
_THESE = "search_id IN (SELECT unhex(value) FROM json_each(?))"
_NOTHING = json.dumps(
    {"band": "review", "centibits": 0, "reasons": [], "agreeing": [], "differing": [], "not_known": []}
)


def forget_results(db: Database, now: datetime, days: int) -> int:
    """Forget results of lookups that were made more than `days` ago; how many.

    Inside the caller's transaction, to be called again until it is 0. A lookup that is still under way is
    looked at once it has ended.
    """
    rows = db.execute(
        "SELECT lower(hex(search_id)) FROM searches WHERE closed = 1 AND shown_at IS NOT NULL"  # noqa: S608
        " AND forgotten_at IS NULL AND created_at < ? AND NOT EXISTS (SELECT 1 FROM sent_requests"
        f" WHERE sent_requests.search_id = searches.search_id AND {_OPEN}) LIMIT ?",
        [to_milliseconds(now - timedelta(days=days)), AT_ONCE],
    ).fetchall()
    if not rows:
        return 0
    ids = json.dumps([search_id for (search_id,) in rows])
    hits = _forget_hits(db, ids)
    _forget_rows(db, ids)
    unseen = amendments.forget(db, (LookupId.parse(search_id) for (search_id,) in rows))
    db.execute(
        f"UPDATE searches SET result = NULL, forgotten_at = ? WHERE {_THESE}",  # noqa: S608
        [to_milliseconds(now), ids],
    )
    ledger.append(
        db, now, "lookup.forgotten", {}, {"lookups": len(rows), "hits": hits, "never_acknowledged": unseen}
    )
    return len(rows)


def _forget_hits(db: Database, ids: str) -> int:
    """How many hits there were."""
    (count,) = db.execute(f"SELECT count(*) FROM hits WHERE {_THESE}", [ids]).fetchone()  # noqa: S608
    db.execute(
        f"DELETE FROM hits WHERE {_THESE} AND NOT EXISTS (SELECT 1 FROM sent_requests"  # noqa: S608
        " WHERE sent_requests.search_id = hits.search_id AND hit_number = hits.number)",
        [ids],
    )
    db.execute(
        f"UPDATE hits SET labels = '[]', explanation = ?, blob = x'', secret = x'' WHERE {_THESE}",  # noqa: S608
        [_NOTHING, ids],
    )
    return int(count)


def _forget_rows(db: Database, ids: str) -> None:
    db.execute(
        "UPDATE batch_rows SET results ="  # noqa: S608
        f" json_array({_KEPT_CELLS}) WHERE results IS NOT NULL AND {_THESE}",
        [WORDS, ids],
    )
