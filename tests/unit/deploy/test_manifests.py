"""Compose file, manifests and Containerfile: valid, without root, and of one mind with the settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from candor_certs.service_manager import DATABASE_KEY, DATABASE_URL
from candor_hub.config import default_log_address, default_metrics_address, load_config

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
MANIFESTS = sorted(
    path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml"
)
# The oldest and the newest that these are for.
VERSIONS = ("1.29", "1.33")
LEAST_UID = 10_000
ENROLMENT = "0.0.0.0:7444"
PORTS = {"members": 7443, "enrolment": 7444, "log": 7445, "metrics": 7446}


def documents(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


def of_kind(kind: str) -> Any:
    (found,) = [document for path in MANIFESTS for document in documents(path) if document["kind"] == kind]
    return found


def pod() -> Any:
    return of_kind("Deployment")["spec"]["template"]["spec"]


# --- Kubernetes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=[path.stem for path in MANIFESTS])
def test_kubernetes_accepts_every_manifest(path: Path, version: str) -> None:
    import kubernetes_validate  # takes two seconds

    for document in documents(path):
        kubernetes_validate.validate(document, version, strict=True)


def test_a_misspelt_key_is_noticed() -> None:
    import kubernetes_validate  # takes two seconds

    deployment = of_kind("Deployment")
    deployment["spec"]["template"]["spec"]["automountServiceAccountTokn"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_the_kustomization_names_every_manifest() -> None:
    (found,) = documents(DEPLOY / "kubernetes/kustomization.yaml")
    assert sorted(found["resources"]) == [path.name for path in MANIFESTS]
    spaces = {
        document["metadata"].get("namespace", found["namespace"])
        for path in MANIFESTS
        for document in documents(path)
    }
    assert spaces == {found["namespace"]}


def test_a_pod_is_nobody_and_writes_nowhere_but_in_its_volumes() -> None:
    security = pod()["securityContext"]
    assert security["runAsNonRoot"] is True
    assert min(security["runAsUser"], security["runAsGroup"]) > LEAST_UID
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod()["automountServiceAccountToken"] is False
    (container,) = pod()["containers"]
    inside = container["securityContext"]
    assert inside["readOnlyRootFilesystem"] is True
    assert inside["allowPrivilegeEscalation"] is inside["privileged"] is False
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
    assert container["resources"]["limits"]["memory"]
    # The namespace says so too: what is not like that is not admitted.
    assert of_kind("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_no_secret_stands_in_a_manifest_and_the_mounted_one_is_not_for_everybody() -> None:
    assert not any(document["kind"] == "Secret" for path in MANIFESTS for document in documents(path))
    volumes = {volume["name"]: volume for volume in pod()["volumes"]}
    secret = volumes["credentials"]["secret"]
    assert secret["defaultMode"] == 0o440
    assert {item["path"] for item in secret["items"]} == {DATABASE_KEY, DATABASE_URL}
    (container,) = pod()["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"name": "CREDENTIALS_DIRECTORY", "value": mounts["credentials"]} in container["env"]
    # An environment is read by every process of its user, and printed in error reports.
    assert not [entry for entry in container["env"] if "valueFrom" in entry]


def test_ports_are_those_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / "hub.toml").write_text(of_kind("ConfigMap")["data"]["hub.toml"])
    config = load_config(tmp_path / "hub.toml")
    named = {
        "members": config.address,
        "enrolment": config.enrolment_address,
        "log": config.log_address,
        "metrics": config.metrics_address,
    }
    assert {name: int(address.rpartition(":")[2]) for name, address in named.items()} == PORTS
    (container,) = pod()["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == PORTS
    service = {port["targetPort"]: port["port"] for port in of_kind("Service")["spec"]["ports"]}
    assert service == {name: port for name, port in PORTS.items() if name != "metrics"}
    policy = of_kind("NetworkPolicy")["spec"]
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == set(PORTS.values())
    (guarded,) = [
        rule for rule in policy["ingress"] if {"protocol": "TCP", "port": PORTS["metrics"]} in rule["ports"]
    ]
    assert guarded["from"]  # metrics are not for everybody
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in probes.values()} == {"metrics"}
    assert probes["liveness"]["path"] == probes["startup"]["path"] == "/healthz"
    assert probes["readiness"]["path"] == "/readyz"
    assert (
        config.data
        == Path("/var/lib/candor-hub")
        == Path({m["name"]: m for m in container["volumeMounts"]}["data"]["mountPath"])
    )


def test_a_disruption_leaves_a_majority() -> None:
    replicas = of_kind("Deployment")["spec"]["replicas"]
    assert replicas == 3
    assert of_kind("PodDisruptionBudget")["spec"]["minAvailable"] == replicas - 1
    rolling = of_kind("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert rolling["maxUnavailable"] == 0


def images() -> list[str]:
    (compose,) = documents(DEPLOY / "compose.yaml")
    named = [service["image"] for service in compose["services"].values()]
    return [*named, *(container["image"] for container in pod()["containers"])]


def test_every_image_has_a_version() -> None:
    for image in images():
        assert not image.endswith(":latest")
        assert re.search(r":[0-9][0-9.]*$|@sha256:|^\$\{[A-Z_]+:\?", image), image


# --- Compose ------------------------------------------------------------------------------------------


def test_compose_runs_nothing_as_root_and_passes_secrets_as_files() -> None:
    (compose,) = documents(DEPLOY / "compose.yaml")
    for name, service in compose["services"].items():
        uid = int(service["user"].split(":")[0])
        assert uid > LEAST_UID or (name == "postgresql" and uid > 0)
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert service["mem_limit"]
        assert service["pids_limit"]
        assert not service.get("privileged")
        for value in (service.get("environment") or {}).values():
            assert "password" not in value.lower()
    hub = compose["services"]["hub"]
    assert set(hub["secrets"]) == {DATABASE_KEY, DATABASE_URL}
    assert {int(port.split(":")[1]) for port in hub["ports"]} == set(PORTS.values()) - {PORTS["metrics"]}
    assert f":{PORTS['metrics']}/healthz" in " ".join(hub["healthcheck"]["test"])
    assert "ports" not in compose["services"]["node"]  # a node only dials out
    assert {secret["file"].split("/")[1] for secret in compose["secrets"].values()} == {"secrets"}


def test_default_addresses_are_the_ports_that_are_opened() -> None:
    log = default_log_address(ENROLMENT)
    assert log == f"0.0.0.0:{PORTS['log']}"
    assert default_metrics_address(log) == f"127.0.0.1:{PORTS['metrics']}"


# --- Containerfile ------------------------------------------------------------------------------------


def test_the_image_is_made_for_nobody_and_needs_no_network() -> None:
    text = (DEPLOY / "Containerfile").read_text("utf-8")
    lines = re.sub(r"\\\n", " ", text).splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and line[0] not in "# "]
    (user,) = [words for step, words in steps if step == "USER"]
    assert int(user.split(":")[0]) > LEAST_UID
    assert [step for step, _ in steps].index("USER") > [step for step, _ in steps].index("RUN")
    (exposed,) = [words for step, words in steps if step == "EXPOSE"]
    assert set(map(int, exposed.split())) == set(PORTS.values()) - {PORTS["metrics"]}
    for step, words in steps:
        assert step != "RUN" or not re.search(r"\b(apt-get|curl|wget|pip3? install)\b", words)
    volumes = next(words for step, words in steps if step == "VOLUME")
    assert "/var/lib/candor-hub" in volumes
