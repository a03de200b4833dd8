"""deploy/compose.yaml against the Compose Specification and against what our roles need."""

import json
import re
from typing import Any

import compose_spec
import pytest

from clearwatch.app import DRAIN_S
from tests.unit.deploy_kit import DEPLOY, OPS_PORT, check_config, document, is_a_role

COMPOSE = document(DEPLOY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"].startswith("clearwatch:"))
TOKEN = "0123456789abcdef"


def test_the_compose_file_is_what_the_specification_says() -> None:
    parsed = compose_spec.PyCompose.from_json(json.dumps(COMPOSE))
    parsed.validate()
    assert set(parsed.service_names()) == set(SERVICES)


def test_volumes_and_dependencies_that_services_name_exist() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), f"{name}: {source}"
            else:
                assert source in COMPOSE["volumes"], f"{name}: {source}"
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[other], f"{name} on {other}"
    for config in COMPOSE["configs"].values():
        assert (DEPLOY / config["file"]).is_file(), config["file"]


def test_every_service_restarts_is_checked_and_has_an_image_of_a_minor_version() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert re.search(r":v?\d+\.\d+[\w.-]*$", service["image"]), f"{name}: {service['image']}"


def test_ports_are_published_on_loopback_alone() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_no_password_is_written_into_the_file() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    variables = set(re.findall(r"\$\{(\w+)", text))
    example = (DEPLOY / "compose/.env.example").read_text(encoding="utf-8")
    assert {line.split("=")[0] for line in example.splitlines() if line and line[0] != "#"} == variables
    assert re.findall(r"^\w+=.+$", example, flags=re.MULTILINE) == []
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN", key):
                assert re.fullmatch(r"\$\{\w+:[?-][^}]*\}", value), f"{name}: {key}"
    # passwords inside URLs
    assert re.findall(r"://\w+:(?!\$\{)[^@\s]+@", text) == []


@pytest.mark.parametrize("name", OURS)
def test_each_clearwatch_service_runs_a_role_safely(name: str) -> None:
    service = SERVICES[name]
    assert is_a_role(service["command"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert f"'127.0.0.1', {OPS_PORT}" in service["healthcheck"]["test"][-1]
    assert int(service["stop_grace_period"].removesuffix("s")) > DRAIN_S


@pytest.mark.parametrize("name", OURS)
def test_the_shared_configuration_is_accepted_with_each_services_environment(name: str) -> None:
    environment = {
        key: re.sub(r"\$\{\w+:[?-][^}]*\}", TOKEN, value) for key, value in SERVICES[name]["environment"].items()
    }
    if name == "sink-webhook":
        environment["CLEARWATCH__SINKS__WEBHOOK__URL"] = "https://alerts.example.com/"
        environment["CLEARWATCH__SINKS__WEBHOOK__SECRET"] = "whsec_" + "A" * 32
    assert "ok" in check_config(DEPLOY / "compose/clearwatch.yaml", environment)


def test_published_ports_are_those_that_the_configuration_opens() -> None:
    config = document(DEPLOY / "compose/clearwatch.yaml")
    open_ports = {
        config["collector"]["grpc"]["listen"].split(":")[1],
        config["collector"]["http"]["listen"].split(":")[1],
        config["ops"]["listen"].split(":")[1],
    }
    published = {port.split(":")[-1] for name in OURS for port in SERVICES[name].get("ports", [])}
    assert published == open_ports


def test_brokers_and_mlflow_are_reached_by_the_names_of_services() -> None:
    config = document(DEPLOY / "compose/clearwatch.yaml")
    host, port = config["log"]["kafka"]["bootstrap_servers"].split(":")
    assert f"PLAINTEXT://{host}:{port}" in SERVICES[host]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    mlflow = config["sinks"]["mlflow"]["tracking_uri"].removeprefix("http://")
    assert mlflow.split(":")[0] in SERVICES
    (allowed,) = (arg for arg in SERVICES["mlflow"]["command"] if arg.startswith("--allowed-hosts="))
    assert mlflow in allowed.removeprefix("--allowed-hosts=").split(",")


def test_prometheus_scrapes_every_role() -> None:
    scrape = document(DEPLOY / "prometheus/prometheus.yml")["scrape_configs"][0]
    (found,) = scrape["dns_sd_configs"]
    assert sorted(found["names"]) == OURS
    assert found["port"] == OPS_PORT
