"""deploy/kubernetes against the schemas of Kubernetes and against what our roles need."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from clearwatch.app import DRAIN_S
from tests.unit.deploy_kit import DEPLOY, OPS_PORT, check_config, document, documents, is_a_role

KUBERNETES = DEPLOY / "kubernetes"
BASE = KUBERNETES / "base"
# the oldest release with all that is used (`unhealthyPodEvictionPolicy`), and the newest whose schemas there are
VERSIONS = ("1.30", kubernetes_validate.latest_version())
# kinds of operators: their schemas are not Kubernetes' own
OPERATORS = ("keda.sh", "monitoring.coreos.com")
KUSTOMIZATIONS = sorted(KUBERNETES.rglob("kustomization.yaml"))
CONFIGURATIONS = (BASE / "clearwatch.yaml", KUBERNETES / "overlays/example/clearwatch.yaml")


def _resources(kustomization: Path) -> list[dict[str, Any]]:
    """Return the resources that a kustomization names itself."""
    files = [kustomization.parent / name for name in document(kustomization).get("resources", [])]
    return [each for path in files if path.is_file() for each in documents(path)]


RESOURCES = [each for path in KUSTOMIZATIONS for each in _resources(path)]
WORKLOADS = {each["metadata"]["name"]: each for each in RESOURCES if each["kind"] in ("Deployment", "StatefulSet")}


def _name(resource: dict[str, Any]) -> str:
    return f"{resource['kind']}-{resource['metadata']['name']}"


def _container(workload: str) -> dict[str, Any]:
    (found,) = WORKLOADS[workload]["spec"]["template"]["spec"]["containers"]
    return dict(found)


def _environment(workload: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in _container(workload)["env"]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("resource", RESOURCES, ids=_name)
def test_manifests_are_what_kubernetes_accepts(resource: dict[str, Any], version: str) -> None:
    if resource["apiVersion"].startswith(OPERATORS):
        assert set(resource) == {"apiVersion", "kind", "metadata", "spec"}
    else:
        kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: str(path.parent.relative_to(KUBERNETES)))
def test_kustomizations_name_files_that_are_there(path: Path) -> None:
    found = document(path)
    assert found["kind"] in ("Kustomization", "Component")
    names = [*found.get("resources", []), *found.get("components", [])]
    names += [file for made in found.get("configMapGenerator", []) for file in made["files"]]
    names += [patch["path"] for patch in found.get("patches", []) if "path" in patch]
    assert [name for name in names if not (path.parent / name).exists()] == []
    for patch in found.get("patches", []):
        if "target" in patch:
            assert patch["target"]["name"] in WORKLOADS


@pytest.mark.parametrize("workload", WORKLOADS)
def test_each_workload_runs_a_role_without_any_right(workload: str) -> None:
    pod, container = WORKLOADS[workload]["spec"]["template"]["spec"], _container(workload)
    assert is_a_role(container["args"])
    assert "command" not in container
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_probes_ask_paths_that_the_ops_server_has_at_its_port(workload: str) -> None:
    container = _container(workload)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: get["path"] for kind, get in asked.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert {ports[get["port"]] for get in asked.values()} == {OPS_PORT}


@pytest.mark.parametrize("workload", WORKLOADS)
def test_pods_are_given_longer_to_stop_than_a_drain_takes(workload: str) -> None:
    assert WORKLOADS[workload]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > DRAIN_S + 5


@pytest.mark.parametrize("workload", [name for name in WORKLOADS if name != "clearwatch-collector"])
def test_members_of_groups_keep_their_place_over_a_restart(workload: str) -> None:
    assert WORKLOADS[workload]["kind"] == "StatefulSet"
    instance = _environment(workload)["CLEARWATCH__LOG__KAFKA__INSTANCE_ID"]
    assert instance["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


@pytest.mark.parametrize("workload", WORKLOADS)
def test_secrets_are_named_and_never_written(workload: str) -> None:
    for name, each in _environment(workload).items():
        if any(word in name for word in ("TOKEN", "PASSWORD", "SECRET", "URL")):
            assert each["valueFrom"]["secretKeyRef"]["name"] == "clearwatch", name
    assert [each for each in RESOURCES if each["kind"] == "Secret"] == []


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.parent.name)
def test_configurations_are_accepted_with_the_environment_of_each_workload(path: Path, workload: str) -> None:
    values = {
        "CLEARWATCH__SINKS__RECORDS__URL": "postgresql://clearwatch:secret@postgres/clearwatch",
        "CLEARWATCH__SINKS__WEBHOOK__URL": "https://alerts.example.com/",
        "CLEARWATCH__SINKS__WEBHOOK__SECRET": "whsec_" + "A" * 32,
        "CLEARWATCH__LOG__KAFKA__INSTANCE_ID": f"{workload}-0",
    }
    environment = {
        name: each.get("value") or values.get(name, "0123456789abcdef")
        for name, each in _environment(workload).items()
        if not each.get("valueFrom", {}).get("secretKeyRef", {}).get("optional")
    }
    assert "ok" in check_config(path, environment)


def test_selectors_find_pods_services_find_ports_and_mounts_find_volumes() -> None:
    components = {}
    for name, workload in WORKLOADS.items():
        spec = workload["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        components[labels["app.kubernetes.io/component"]] = name
        pod = spec["template"]["spec"]
        mounted = {mount["name"] for mount in _container(name)["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        for spread in pod["topologySpreadConstraints"]:
            assert spread["labelSelector"]["matchLabels"].items() <= labels.items()
    for each in RESOURCES:
        if each["kind"] == "Service":
            ports = {port["name"] for port in _container(components[_component(each["spec"]["selector"])])["ports"]}
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports
        if each["kind"] == "PodDisruptionBudget":
            assert _component(each["spec"]["selector"]["matchLabels"]) in components
        if each["kind"] in ("HorizontalPodAutoscaler", "ScaledObject"):
            target = each["spec"]["scaleTargetRef"]
            assert WORKLOADS[target["name"]]["kind"] == target["kind"]


def test_there_are_never_more_detectors_than_partitions() -> None:
    partitions = document(BASE / "clearwatch.yaml")["log"]["partitions"]
    (scaled,) = documents(KUBERNETES / "components/keda/scaledobject.yaml")
    (plain,) = documents(KUBERNETES / "components/lag-hpa/hpa.yaml")
    assert scaled["spec"]["maxReplicaCount"] == plain["spec"]["maxReplicas"] == partitions


def test_lag_is_measured_at_topics_and_groups_of_ours_with_the_prefix_of_the_configuration() -> None:
    places = (
        (KUBERNETES / "components/keda/scaledobject.yaml", BASE / "clearwatch.yaml"),
        (KUBERNETES / "overlays/example/keda-brokers.yaml", KUBERNETES / "overlays/example/clearwatch.yaml"),
    )
    for path, configuration in places:
        kafka = document(configuration)["log"]["kafka"]
        prefix = kafka.get("topic_prefix", "")
        wanted = [(f"{prefix}spans", f"{prefix}assemble"), (f"{prefix}findings", f"{prefix}issues")]
        triggers = [each["metadata"] for each in document(path)["spec"]["triggers"]]
        assert [(each["topic"], each["consumerGroup"]) for each in triggers] == wanted
        assert {each["bootstrapServers"] for each in triggers} == {kafka["bootstrap_servers"]}


def test_the_operators_rules_are_those_of_prometheus() -> None:
    rules = document(KUBERNETES / "components/prometheus-operator/prometheusrule.yaml")["spec"]
    assert rules == document(DEPLOY / "prometheus/alerts.yml")


def _component(labels: dict[str, str]) -> str:
    return labels["app.kubernetes.io/component"]
