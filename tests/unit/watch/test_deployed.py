"""Dashboards, rules and alerts against the metrics that there are, and against the documents."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from candor_certs.lifetime import judge
from candor_hub import metrics as hub_metrics
from candor_hub.findings.catalogue import CATALOGUE as OF_HUB
from candor_hub.store.standing import LogStanding, MailboxStanding, MemberStanding
from candor_node import metrics as node_metrics
from candor_node.findings.catalogue import CATALOGUE as OF_NODE
from candor_node.findings.readings import OwnEntry, Queue, Readings
from candor_proto.directory import MemberStatus
from candor_proto.ids import NodeId
from candor_watch import metrics
from candor_watch.backups import Backups
from candor_watch.findings import table
from candor_watch.listener import Readiness

ROOT = Path(__file__).resolve().parents[3]
TESTS = sorted((ROOT / "deploy/prometheus").glob("alerts_*test.yml"))
PROMETHEUS, GRAFANA = ROOT / "deploy/prometheus", sorted((ROOT / "deploy/grafana").glob("*.json"))
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
BACKUP = Backups(NOW, "", 1, timedelta(minutes=5), None, "", NOW, 3.0)
LIFE = judge(NOW - timedelta(days=1), NOW + timedelta(days=6), NOW)
READY = Readiness({"database": "It is full."}, {"concerns": {"log_waiting": "It waits."}})


def member(name: str, **changes: object) -> MemberStanding:
    values = {"status": MemberStatus.ACTIVE, "revoked": False, "last_seen_at": NOW, "index_issued_at": NOW}
    return MemberStanding(NodeId(name), **{**values, **changes})  # type: ignore[arg-type]


def hub_readings(members: int = 3, version: str = "0.1.0") -> hub_metrics.Readings:
    nodes = [NodeId(f"node-{number}") for number in range(members)]
    return hub_metrics.Readings(
        now=NOW,
        database="sqlite",
        attached={node: f"{version}{number}" for number, node in enumerate(nodes)},
        sequencer_held=True,
        deny_list_age_seconds=0.5,
        loop_lag_seconds=0.01,
        ready=READY,
        certificates={"hub": LIFE},
        backup=BACKUP,
        disk_free=1,
        disk_total=2,
        stored=hub_metrics.Stored(
            members=tuple(member(node.value) for node in nodes),
            mailbox=MailboxStanding(4_000, NOW - timedelta(minutes=1), {nodes[0]: 40_000, nodes[-1]: 1}),
            log=LogStanding(9, 9, NOW, NOW, 1, NOW),
            log_lag=0,
            sequencer_term=1,
            replicas=1,
            online=frozenset(nodes[:1]),
        ),
    )


def node_seen() -> node_metrics.Seen:
    stored = Readings(
        directory_version=1,
        directory_received_at=NOW,
        own_entry=OwnEntry.GOOD,
        own_index_issued_at=NOW,
        own_index_confirmed=True,
        others={NodeId("bravo"): None},
        log_origin="demo.example/log/1",
        log_size=3,
        log_shard=1,
        log_witnessed_at=NOW,
        witness_signed_at=NOW,
        outbox=Queue(1, NOW - timedelta(hours=1)),
        inbox=Queue(),
        dead_letters=0,
        users=1,
        reviews_due=(),
    )
    return node_metrics.Seen(NOW, True, NOW, READY, {"own": LIFE}, BACKUP, 1, 2, stored)


def told() -> dict[str, str]:
    """Every metric that hub or node can show, by its name in a query, and its help."""
    counters = hub_metrics.HubMetrics()
    counters.called("/candor.v1.HubService/Submit", "", 0.1)
    text = counters.render(hub_readings()).decode()
    registry, read = metrics.registry(node_metrics.PREFIX, quiet=True), metrics.Read()
    registry.register(read)
    read.gauges = tuple(node_metrics.gauges(node_seen()))
    text += metrics.render(registry).decode()
    return dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))


TOLD = told()


def queried(expression: str) -> set[str]:
    """The metrics that a query asks for, without the suffixes of histograms."""
    found = set(re.findall(r"\bcandor_(?:hub|node)_[a-z0-9_]+", expression))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


RULES = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"][0]["rules"]
ALERTS = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
RECORDED = {rule["record"] for rule in RULES}
QUERIES = {
    **{rule["record"]: rule["expr"] for rule in RULES},
    **{rule["alert"]: rule["expr"] for rule in ALERTS},
    **{
        f"{path.stem}: {panel['title']} {target['refId']}": target["expr"]
        for path in GRAFANA
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    },
}


def test_every_query_asks_for_metrics_that_there_are() -> None:
    unknown = {
        where: sorted(queried(query) - set(TOLD))
        for where, query in QUERIES.items()
        if queried(query) - set(TOLD)
    }
    assert unknown == {}
    recorded = {name for query in QUERIES.values() for name in re.findall(r"candor_hub:[a-z0-9_:]+", query)}
    assert recorded <= RECORDED


def test_every_metric_is_documented_and_shown_or_alarmed_on() -> None:
    page = (ROOT / "docs/observability.md").read_text("utf-8")
    part = page.split("<!-- metrics -->")[1].split("<!-- /metrics -->")[0]
    documented = dict(re.findall(r"^\| `([a-z0-9_]+)` \| (.+?) \|$", part, re.MULTILINE))
    assert documented == TOLD
    asked = set().union(*(queried(query) for query in QUERIES.values()))
    assert sorted(set(TOLD) - asked - SHOWN_NOWHERE) == []


# What explains itself beside others, or is there for whoever looks closer.
SHOWN_NOWHERE = frozenset(
    {
        "candor_hub_info",
        "candor_node_info",
        "candor_hub_call_seconds",
        "candor_hub_certificate_left_seconds",
        "candor_node_certificate_left_seconds",
        "candor_hub_process_cpu_seconds_total",
        "candor_hub_process_start_time_seconds",
        "candor_node_process_start_time_seconds",
        "candor_hub_process_virtual_memory_bytes",
        "candor_node_log_entries",
    }
)


@pytest.mark.parametrize("path", GRAFANA, ids=lambda path: path.stem)
def test_a_dashboard_is_one_that_grafana_takes(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == path.stem
    assert board["schemaVersion"] >= 36
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    (source,) = board["templating"]["list"]
    for panel in board["panels"]:
        assert panel["type"] in {"timeseries", "stat"}
        assert panel["datasource"]["uid"] == f"${{{source['name']}}}"
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        assert panel["targets"]
        assert all(target["expr"] and target["refId"] for target in panel["targets"])


def test_every_alert_says_how_grave_it_is_and_what_to_do() -> None:
    page = (ROOT / "docs/alerts.md").read_text("utf-8")
    headings = re.findall(r"^## (\S+)$", page, re.MULTILINE)
    assert headings == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"] in page
        assert f"({rule['labels']['severity']}; `{' '.join(rule['expr'].split())}`)" in page


def test_of_every_alert_promtool_is_shown_that_it_fires_and_that_it_is_silent() -> None:
    """The silent one with every metric that the alert asks for: without it, silence says nothing."""
    fires, silent = set[str](), set[str]()
    for path in TESTS:
        for case in yaml.safe_load(path.read_text())["tests"]:
            given = {each["series"].partition("{")[0] for each in case["input_series"]}
            for check in case["promql_expr_test"]:
                for name in re.findall('alertname="(\\w+)"', check["expr"]):
                    wanted = asked_by(next(rule["expr"] for rule in ALERTS if rule["alert"] == name))
                    well = {each["series"].partition("{")[0] for each in case["input_series"] if _well(each)}
                    if check["exp_samples"]:
                        fires.add(name)
                        assert check["exp_samples"][0]["labels"] == f'{{job="candor-{kind(name)}"}}'
                        if "is silent" in case["name"] and wanted <= well:
                            silent.add(name)
                    assert given
    assert sorted(fires) == sorted(rule["alert"] for rule in ALERTS)
    assert sorted(silent) == sorted(rule["alert"] for rule in ALERTS)


def test_the_jobs_that_alerts_go_by_are_those_of_the_example() -> None:
    """Under another name a hub that is down alarms nobody."""
    example = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    jobs = {job["job_name"] for job in example["scrape_configs"]}
    asked = {name for rule in ALERTS for name in re.findall('job="([^"]+)"', rule["expr"])}
    assert asked == jobs
    page = (ROOT / "docs/observability.md").read_text("utf-8")
    assert all(f"`{job}`" in page for job in jobs)


def kind(alert: str) -> str:
    return "node" if alert.startswith("CandorNode") else "hub"


def _well(series: dict[str, str]) -> bool:
    return 'job="well"' in series["series"] or series["series"].startswith("up{")


def asked_by(expression: str) -> set[str]:
    """The raw metrics behind a query, through the recorded rules."""
    for rule in RULES:
        expression = expression.replace(rule["record"], rule["expr"])
    return set(re.findall(r"\b(?:candor_(?:hub|node)_[a-z0-9_]+|up(?=\{))", expression))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "rules.yml", "alerts.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", *(path.name for path in TESTS)),
    ],
    ids=["rules", "config", "test"],
)
def test_promtool_takes_the_rules_and_the_alerts_fire(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *command], cwd=PROMETHEUS, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_labels_do_not_grow_with_what_peers_say() -> None:
    counters = hub_metrics.HubMetrics()
    for number in range(5_000):
        counters.called(f"/evil.Service/{number}", f"code_{number}", 0.1)
        counters.refused(f"code_{number}")
    text = counters.render(hub_readings(members=500, version="9.9."))
    series = [line for line in text.decode().splitlines() if not line.startswith("#")]
    assert sum(line.startswith("candor_hub_attached_versions") for line in series) <= metrics.MAX_LABELS
    assert sum(line.startswith("candor_hub_calls_total") for line in series) <= 2
    assert sum(line.startswith("candor_hub_refusals_total") for line in series) <= 6
    assert len(series) < 500 * 5


def test_of_a_member_is_shown_that_it_is_there_and_nothing_that_it_did() -> None:
    text = hub_metrics.HubMetrics().render(hub_readings()).decode()
    by_member = set(re.findall(r"^(\S+?)\{[^}]*node=", text, re.MULTILINE))
    assert by_member <= {
        "candor_hub_node_online",
        "candor_hub_node_last_seen_seconds",
        "candor_hub_node_index_age_seconds",
        "candor_hub_node_mailbox_ratio",
    }
    # One delivery does not show: a mailbox is told in sixteenths.
    assert 'candor_hub_node_mailbox_ratio{node="node-2"}' not in text


def test_of_a_node_nothing_moves_because_a_message_came_or_somebody_worked() -> None:
    text = "".join(gauge.name for gauge in node_metrics.gauges(node_seen()))
    for word in (
        "lookup",
        "hit",
        "match",
        "request",
        "recall",
        "answer",
        "disclos",
        "cpu",
        "open_fds",
        "user",
    ):
        assert word not in text
    fresh = Queue(0, NOW - timedelta(minutes=1))
    assert [gauge.values[()] for gauge in node_metrics._queue("inbox", fresh, NOW)] == [0.0, 0.0]


@pytest.mark.parametrize(("name", "entries"), [("hub", OF_HUB), ("node", OF_NODE)], ids=["hub", "node"])
def test_the_documented_findings_are_those_that_doctor_looks_at(
    name: str, entries: dict[str, object]
) -> None:
    page = (ROOT / "docs/doctor.md").read_text("utf-8")
    part = page.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]
    assert part.strip() == table(entries)  # type: ignore[arg-type]  # of Entry
