"""Two behaviours, two bases: what may be tried again, and what never will work."""


class ClearwatchError(Exception):
    """Base of every error that Clearwatch raises on purpose."""


class RetryableError(ClearwatchError):
    """The same call may succeed later; `retry_after_s` says when it is worth trying."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PermanentError(ClearwatchError):
    """The same call will fail again: drop, dead-letter or refuse, and count it."""


class LogUnavailableError(RetryableError):
    """The log cannot store or serve records now (disk full, broker down)."""


class LogFullError(LogUnavailableError):
    """`log.max_bytes` is reached and nothing that may be deleted is left."""

    def __init__(self, *, stored_bytes: int, max_bytes: int) -> None:
        super().__init__(f"log holds {stored_bytes} bytes, `log.max_bytes` is {max_bytes}", retry_after_s=5.0)


class PartitionLostError(ClearwatchError):
    """A partition belongs to another member of the group now: drop what is in hand, it is read again there."""

    def __init__(self, *, group: str, partition: int) -> None:
        super().__init__(f"partition {partition} no longer belongs to this member of {group}")


class GroupInUseError(PermanentError):
    """A consumer group has a member, so it cannot be forgotten."""

    def __init__(self, group: str) -> None:
        super().__init__(f"consumer group {group} has a member: stop it before forgetting the group")


class SchemaTooNewError(PermanentError):
    """A record was written by a newer release: stop the partition, never dead-letter it."""

    def __init__(self, *, topic: str, schema: int, supported: int) -> None:
        super().__init__(
            f"record of {topic} has schema {schema}, this release reads up to {supported}: upgrade before reading on"
        )


class SpanDecodeError(PermanentError):
    """Bytes that claim to be OTLP are not."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"cannot decode span: {reason}")
