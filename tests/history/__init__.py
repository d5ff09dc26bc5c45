"""The history checker: what clients were told, held against what every party's database holds afterwards.

    log = History(path)                                     a file, so that a killed client leaves it behind
    asked = log.invoke("lookup", "alpha", case="REQ-1", expect="MATCH")
    ...
    log.ok(asked, search_id="6f1c…")                        or log.fail(asked, code), or log.unknown(asked)
    nodes = [read_node(config, record_ids) for config in configs]
    faults = check(log.operations, nodes, read_hub(hub_config), now, settled=True)

Kinds of operations and what they say:
    lookup      case, which no other operation has; expect: MATCH or NO_RECORD, if known;
                told search_id, overall
    import      records: agency_record_ids, always with the same content
    publish     told sequence
    disclosure  search_id, hit; told request_id
`times` in an operation is how often its effect is meant to be there, if not once.
"""

from tests.history.check import check
from tests.history.faults import Fault, Name
from tests.history.holdings import HubHolding, NodeHolding
from tests.history.log import History, Operation
from tests.history.read import read_envelopes, read_hub, read_node

__all__ = [
    "Fault",
    "History",
    "HubHolding",
    "Name",
    "NodeHolding",
    "Operation",
    "check",
    "read_envelopes",
    "read_hub",
    "read_node",
]
