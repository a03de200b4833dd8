"""What the collector's section refuses, and how it says so."""

from typing import Any

import pytest
from pydantic import ValidationError

from collector.config import CollectorConfig, split_address


def test_defaults_are_the_registered_ports_on_loopback() -> None:
    config = CollectorConfig()
    assert (config.grpc.listen, config.http.listen) == ("127.0.0.1:4317", "127.0.0.1:4318")


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.1.2.3", "collector.example"])  # noqa: S104
@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_an_open_address_needs_allow_anonymous_and_the_refusal_names_both(transport: str, host: str) -> None:
    values: dict[str, Any] = {transport: {"listen": f"{host}:4317"}}
    with pytest.raises(ValidationError, match=rf"`{transport}\.listen`.*`allow_anonymous`"):
        CollectorConfig.model_validate(values)
    assert CollectorConfig.model_validate(values | {"allow_anonymous": True}).allow_anonymous


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:4317", "localhost:4317", "127.9.9.9:1"])
def test_loopback_addresses_are_taken(listen: str) -> None:
    assert CollectorConfig.model_validate({"grpc": {"listen": listen}}).grpc.listen == listen


@pytest.mark.parametrize("listen", ["", "4317", ":4317", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1"])
def test_what_is_not_host_and_port_is_refused(listen: str) -> None:
    with pytest.raises(ValidationError, match="host:port"):
        CollectorConfig.model_validate({"http": {"listen": listen}})


def test_bounds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"`max_in_flight_bytes`.*`max_request_bytes`"):
        CollectorConfig.model_validate({"max_in_flight_bytes": 2000, "max_request_bytes": 3000})


@pytest.mark.parametrize("values", [{"grcp": {}}, {"validate": "some"}, {"max_record_bytes": 0}])
def test_unknown_keys_and_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CollectorConfig.model_validate(values)


def test_brackets_of_an_ipv6_host_are_not_part_of_it() -> None:
    assert split_address("[::1]:4317") == ("::1", 4317)
