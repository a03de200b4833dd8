"""What a check is: a name, a CLEARS dimension, a configuration of its own, and one pure question to a trace.

Adding a check takes one file with the check and its configuration, one line in `DEFAULT_CHECKS`, and one test file.
"""

import enum
from typing import Final, Protocol

import msgspec
import pydantic

from core.model.finding import Dimension, Finding
from core.model.trace import Trace


class Outcome(enum.StrEnum):
    """The answer of a check to one trace.

    found: it made findings; clear: it looked and nothing is wrong; suspicious: nothing it can prove, but worth a judge;
    unknown: what it needs was not sent (content off, redacted, still in log records).
    """

    FOUND = "found"
    CLEAR = "clear"
    SUSPICIOUS = "suspicious"
    UNKNOWN = "unknown"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome, with its findings where it is `FOUND`."""

    outcome: Outcome
    findings: tuple[Finding, ...] = ()


_OUTCOMES: Final = frozenset(Outcome)

CLEAR = Answer(outcome=Outcome.CLEAR)
SUSPICIOUS = Answer(outcome=Outcome.SUSPICIOUS)
UNKNOWN = Answer(outcome=Outcome.UNKNOWN)


def found(findings: list[Finding], *, otherwise: Answer = CLEAR) -> Answer:
    """Return `FOUND` with these findings, or `otherwise` where there are none."""
    return Answer(outcome=Outcome.FOUND, findings=tuple(findings)) if findings else otherwise


class Need(enum.StrEnum):
    """What a check reads beyond times, kinds and outcomes of spans: where a client does not send it, it sees less.

    Declared by every check as `needs`, `()` where it needs nothing of these.
    """

    CONTENT = "content"
    """Text of inputs or outputs."""
    TOOLS = "tools"
    """Tool spans, or the tool calls of a model's answer, with their names."""
    DEFINITIONS = "definitions"
    """The tools that a model was offered, with their schemas."""
    USAGE = "usage"
    """Tokens."""
    COST = "cost"
    """What a call cost, in USD."""
    FINISH_REASON = "finish reason"
    OUTPUT_SCHEMA = "output schema"
    """What form of output was asked for."""
    TIME_TO_FIRST = "time to first token"
    DOCUMENTS = "documents"
    """What a retriever found."""
    EVALUATIONS = "evaluations"
    """What evaluators or people said of a span."""
    SESSION = "session"
    """A session id."""
    ATTRIBUTES = "attributes"
    """Attributes that its own configuration names."""


class CheckConfig(pydantic.BaseModel):
    """Base of every check's section in the configuration."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    enabled: bool = True
    """False: the check is not run and gives no answer."""


class Check(Protocol):
    """A rule over one trace.

    `inspect` is pure: the same trace gives the same answer, whatever was inspected before. It does no I/O, reads no
    clock, and keeps nothing. Raising costs only its own answer.

    Its class also says what it `needs: tuple[Need, ...]`: one that does not say needs nothing more.
    """

    @property
    def name(self) -> str:
        """Return its name: lower case with underscores; part of every fingerprint, so never renamed."""
        ...

    @property
    def dimension(self) -> Dimension:
        """Return the CLEARS dimension of its findings."""
        ...

    def inspect(self, trace: Trace) -> Answer:
        """Answer for one version of a trace."""
        ...


def needs_of(check: object) -> tuple[Need, ...]:
    """Return what a check, or a class of checks, declares that it needs."""
    return tuple(Need(need) for need in getattr(check, "needs", ()))


def answered(given: object) -> Answer:
    """Return what a check answered. Raises TypeError where that is no answer: third parties write checks."""
    if type(given) is not Answer:
        raise TypeError(f"answered {type(given).__name__}, not an Answer")
    if given.findings and not all(isinstance(each, Finding) for each in given.findings):
        raise TypeError("answered with findings that are no Finding")
    if given.outcome not in _OUTCOMES:
        raise TypeError(f"answered {given.outcome!r}, which is no Outcome")
    return given
