"""The section `ops`."""

import ipaddress
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator


class OpsConfig(BaseModel):
    """Where health, metrics, the status API and the page are served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: str = "127.0.0.1:9464"
    """host:port; 9464 is the port OpenTelemetry's Prometheus exporter uses. Port 0 takes a free one."""
    token: SecretStr | None = None
    """Asked for as `Authorization: Bearer` by everything that shows content."""
    ready_max_lag: int = Field(default=50_000, ge=0)
    """Records behind which a stage is not called ready: a rolling upgrade waits for it."""

    @field_validator("listen")
    @classmethod
    def _has_host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"`ops.listen` ({value}) must read host:port, for example 127.0.0.1:9464")
        return value

    @model_validator(mode="after")
    def _public_needs_token(self) -> Self:
        if not self.is_loopback and (self.token is None or not self.token.get_secret_value()):
            raise ValueError(
                f"`ops.listen` ({self.listen}) is not a loopback address, so `ops.token` must be set: "
                "the page and the API show what applications said"
            )
        return self

    @property
    def host(self) -> str:
        """Return the address to bind, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Return the port to bind; 0 takes a free one."""
        return int(self.listen.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Return whether only this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def url(self) -> str:
        """Return where a client on this machine asks; an address that means "all" is reached by loopback."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - recognised, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
