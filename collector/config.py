"""Section `collector` of the configuration."""

import ipaddress
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_MIB = 1 << 20


def split_address(address: str) -> tuple[str, int]:
    """Return (host, port) of `host:port`; brackets around an IPv6 host are removed. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise ValueError(f"listen address `{address}` is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ListenConfig(BaseModel):
    """Where one transport listens: `host:port`, `[ipv6]:port`; port 0 takes any free one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: str
    """host:port; the default is loopback, and a port that IANA registered for OTLP."""

    @model_validator(mode="after")
    def _check_address(self) -> "ListenConfig":
        split_address(self.listen)
        return self


class CollectorConfig(BaseModel):
    """What the OTLP receivers accept, and how much of it at a time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # the ports that IANA registered for OTLP
    grpc: ListenConfig = ListenConfig(listen="127.0.0.1:4317")
    http: ListenConfig = ListenConfig(listen="127.0.0.1:4318")
    max_request_bytes: int = Field(default=16 * _MIB, ge=1024)
    """Of one request, after decompression."""
    max_in_flight_bytes: int = Field(default=64 * _MIB, ge=1024)
    """Of all requests taken and not yet answered; beyond it clients are told to come back."""
    max_record_bytes: int = Field(default=900_000, ge=1024)
    """Of one record: below Kafka's default limit of 1 MiB for a batch, with room for its own framing."""
    # what is checked at the door beyond framing and ids. `full`: every request is parsed by protobuf too, so that bad
    # text or a damaged attribute inside a span is always refused (a quarter of the whole cost, docs/adr/004).
    # `framing`: never; such a span is accepted, and the detector dead-letters it. `auto`: parsed while no other request
    # is in hand, that is whenever the receiver is not busy; what load makes it skip is caught by the detector.
    validate_: Literal["auto", "full", "framing"] = Field(default="auto", alias="validate")
    """What is checked at the door beyond framing and ids.

    `full`: all of every request. `framing`: no more; a damaged span is accepted, and the detector dead-letters it.
    `auto`: all, whenever the receiver is not busy.
    """
    allow_anonymous: bool = False
    """Listen on addresses that other machines reach, although neither TLS nor tokens guard the receivers."""

    @model_validator(mode="after")
    def _check_exposure(self) -> "CollectorConfig":
        for key, listen in (("grpc.listen", self.grpc.listen), ("http.listen", self.http.listen)):
            if not self.allow_anonymous and not is_loopback(split_address(listen)[0]):
                raise ValueError(
                    f"`{key}` ({listen}) is reachable from other machines and nothing checks who sends: "
                    f"use a loopback address, or set `allow_anonymous` (false) to true"
                )
        return self

    @model_validator(mode="after")
    def _check_sizes(self) -> "CollectorConfig":
        if self.max_in_flight_bytes < self.max_request_bytes:
            raise ValueError(
                f"`max_in_flight_bytes` ({self.max_in_flight_bytes}) must not be below "
                f"`max_request_bytes` ({self.max_request_bytes}): the largest request would never be taken"
            )
        return self
