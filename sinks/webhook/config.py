"""Section `sinks.webhook`."""

import base64
import binascii

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator


class WebhookConfig(BaseModel):
    """Where alerts are posted, and how they are signed (Standard Webhooks)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = False
    """True: alerts are posted to `url`, signed with `secret`."""
    url: SecretStr = SecretStr("")
    """Where alerts are posted. It may hold a token."""
    secret: SecretStr = SecretStr("")
    """`whsec_` and base64 of 24 to 64 bytes, as the specification wants it."""
    # the specification asks for 15 to 30 s
    timeout_s: float = Field(default=20.0, gt=0, le=60)
    """For an answer; the specification asks for 15 to 30 s."""
    concurrency: int = Field(default=4, ge=1, le=32)
    """Requests at a time."""
    drain_s: float = Field(default=10.0, gt=0)
    """What is in flight at a stop may take this long."""
    # the specification's schedule: after these pauses, ten attempts in all, it is given up
    pauses_s: tuple[float, ...] = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
    """Waits between attempts; after the last one an alert is given up."""

    @model_validator(mode="after")
    def _usable(self) -> "WebhookConfig":
        if not self.enabled:
            return self
        if not self.url.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("`url` must be an http or https address where `enabled` is true")
        secret = self.secret.get_secret_value().removeprefix("whsec_")
        try:
            size = len(base64.b64decode(secret, validate=True))
        except binascii.Error as exc:
            raise ValueError("`secret` must be `whsec_` and base64 where `enabled` is true") from exc
        if not 24 <= size <= 64:
            raise ValueError(f"`secret` holds {size} bytes, the specification wants 24 to 64")
        return self
