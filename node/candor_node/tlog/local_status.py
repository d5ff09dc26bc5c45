"""Where a node stands with the log, for `candor-node status` and `doctor`."""

from __future__ import annotations

from datetime import datetime

from candor_node.local_view import moment
from candor_node.store import Database
from candor_node.tlog import log_store
from candor_node.tlog.follower import Follower
from candor_node.tlog.policies import fingerprint
from candor_proto.tlog.policy import Policy
from candor_wire.v1 import local_pb2 as pb


def log_status(db: Database, follower: Follower, own_policy: Policy | None, now: datetime) -> pb.LogStatus:
    """Inside a transaction of `Store`."""
    status = pb.LogStatus(
        notice=follower.notice(now),
        trouble="" if follower.trouble is None else str(follower.trouble),
        missing=follower.missing,
        alarms=follower.warnings(),
        own_policy=own_policy is not None,
    )
    first = log_store.first_policy(db)
    if own_policy is not None:
        status.policy_sha256 = fingerprint(own_policy.text)
    elif first is not None:
        status.policy_sha256 = fingerprint(first.text)
    view = follower.view
    if view is not None:
        status.origin, status.size = view.origin, view.size
        status.witnessed_at, status.age = moment(view.time_of_witness), view.age(now).value
        status.policy_version, status.witnesses = view.policy_version, len(view.policy.witnesses)
    return status
