"""Configuration of the log: section `log` of clearwatch.yaml."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from core import topics
from core.log.kafka_config import KafkaConfig


class LogConfig(BaseModel):
    """Which log, how many partitions, and how long and how much it keeps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sqlite", "kafka"] = "sqlite"
    """sqlite: embedded, one process. kafka: as many processes as there are partitions."""
    # as many as processes could share the work; more only cost: each is a record per request and a processor per stage
    partitions: int | None = Field(default=None, ge=1, le=1024)
    """Default: 4 in the embedded log; on Kafka what the topics have, 12 where they are made."""
    max_bytes: int = Field(default=10 * 1024**3, ge=1024)
    """Bytes of record values that may be stored before retention by size begins.

    Stages may go to twice this to work off what was accepted.
    """
    retention_h: dict[str, float] = {}
    """Hours a topic is kept, where it differs from the default of that topic."""
    retention_interval_s: float = Field(default=10.0, gt=0)
    """How often retention by time looks for something to delete."""
    max_pending: int = Field(default=4096, ge=1)
    """Appends and commits that may wait for the writer; beyond it, callers wait."""
    kafka: KafkaConfig = KafkaConfig()

    @field_validator("retention_h")
    @classmethod
    def _known_topics(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(value) - set(topics.RETENTION_H))
        if unknown:
            raise ValueError(f"`retention_h` names unknown topics: {', '.join(unknown)}")
        wrong = sorted(topic for topic, hours in value.items() if hours <= 0)
        if wrong:
            raise ValueError(f"`retention_h` must be above 0 for {', '.join(wrong)}")
        return value

    def hours_kept(self, topic: str) -> float:
        """Return how many hours records of this topic are kept."""
        return self.retention_h.get(topic, topics.RETENTION_H[topic])

    def reserve_bytes(self) -> int:
        """Return how far stages may go over `max_bytes` while they drain what was accepted."""
        # as much again: what stages make of the spans in hand is no larger than they are, and spans are released only
        # after that was stored, so with less room a full log could wait for ever for its own stages
        return self.max_bytes
