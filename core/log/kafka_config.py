"""Configuration of the brokers: section `log.kafka` of clearwatch.yaml."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Compression = Literal["none", "zstd", "snappy"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]


class TlsConfig(BaseModel):
    """TLS towards the brokers; files are PEM."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = False
    """Encrypt, and check whom we talk to."""
    ca_file: str = ""
    """Certificates that a broker's must be signed by; empty: the system's."""
    cert_file: str = ""
    """Certificate that we show (mutual TLS), with `key_file`."""
    key_file: str = ""
    """Private key of `cert_file`."""
    key_password: SecretStr = SecretStr("")
    """Of `key_file`, where it has one."""
    verify_hostname: bool = True
    """Refuse a broker whose certificate is not made for its name."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("`cert_file` and `key_file` belong together")
        if (self.ca_file or self.cert_file) and not self.enabled:
            raise ValueError("certificates are given but `enabled` is false")
        return self


class OauthConfig(BaseModel):
    """Where tokens for OAUTHBEARER come from: the client credentials grant (RFC 6749, section 4.4)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token_url: str = ""
    """Where a token is asked for."""
    client_id: str = ""
    """Who we are there."""
    client_secret: SecretStr = SecretStr("")
    """And its proof."""
    scope: str = ""
    """What is asked for, where the server wants it said."""


class SaslConfig(BaseModel):
    """How we say who we are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mechanism: Mechanism | Literal[""] = ""
    """Empty: no SASL."""
    username: str = ""
    """For PLAIN and SCRAM."""
    password: SecretStr = SecretStr("")
    """For PLAIN and SCRAM."""
    oauth: OauthConfig = OauthConfig()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.mechanism == "OAUTHBEARER":
            if not (self.oauth.token_url and self.oauth.client_id):
                raise ValueError("OAUTHBEARER needs `oauth.token_url` and `oauth.client_id`")
        elif self.mechanism and not self.username:
            raise ValueError(f"{self.mechanism} needs `username` and `password`")
        elif not self.mechanism and self.username:
            raise ValueError("`username` is given without `mechanism`")
        return self


class KafkaConfig(BaseModel):
    """Where the brokers are and how topics are made there; used where `log.kind` is kafka."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = "127.0.0.1:9092"
    """Addresses of some brokers, host:port, separated by commas."""
    topic_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    """Put before every topic and consumer group, where the brokers serve others too."""
    replication_factor: int = Field(default=-1, ge=-1, le=32767)
    """Replicas of a topic that we create; -1: what the brokers are configured with."""
    compression: Compression = "zstd"
    """zstd: fewest bytes. snappy: less CPU. none: least CPU of all."""
    linger_ms: int = Field(default=5, ge=0, le=1000)
    """How long records wait for others to share a request with."""
    max_record_bytes: int = Field(default=900_000, ge=16_384, le=64 * 1024**2)
    """Larger records are split; must lie below the brokers' `message.max.bytes` (1 MB by default)."""
    instance_id: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    """This process's place in its consumer groups: the same after a restart. Empty: chosen by host and data folder."""
    session_timeout_s: float = Field(default=20.0, ge=6.0, le=1800.0)
    """Without a heartbeat for this long, another process takes over."""
    delivery_timeout_s: float = Field(default=10.0, ge=0.1, le=600.0)
    """Unacknowledged for this long, a write is refused as retryable."""
    tls: TlsConfig = TlsConfig()
    sasl: SaslConfig = SaslConfig()

    @model_validator(mode="after")
    def _addresses(self) -> Self:
        for address in self.servers():
            host, _, port = address.rpartition(":")
            if not host or not port.isdecimal():
                raise ValueError(f"`bootstrap_servers` must be host:port[,host:port…], not {self.bootstrap_servers!r}")
        return self

    def servers(self) -> list[str]:
        """Return the addresses of `bootstrap_servers`."""
        return [address.strip() for address in self.bootstrap_servers.split(",")]
