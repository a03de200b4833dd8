"""Configuration of rules: `detector.rules`."""

import difflib
import enum
import re
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from core.model.finding import Dimension, Severity
from core.model.span import SpanKind
from detector.rules.fields import SPAN_FIELDS, TRACE_FIELDS, FieldType, Scalar

# part of fingerprints, metric labels and the names of other checks
NAME_PATTERN: Final = r"^[a-z][a-z0-9_]{1,63}$"
OF_TRACE: Final = "trace."


class Op(enum.StrEnum):
    """How a value is compared. In YAML the signs want quotes; the words (`eq`, `ne`, `gt`, `lt`, `ge`, `le`) do not."""

    EQ = "=="
    NE = "!="
    GT = ">"
    LT = "<"
    GE = ">="
    LE = "<="
    IN = "in"
    MATCHES = "matches"
    EXISTS = "exists"


_WORDS: Final = {"eq": "==", "ne": "!=", "gt": ">", "lt": "<", "ge": ">=", "le": "<="}
ORDERED: Final = frozenset({Op.GT, Op.LT, Op.GE, Op.LE})


def _sign(given: Any) -> Any:
    if given in ("", None):
        raise ValueError('is empty: YAML reads a bare > or ! as something else; write ">" or gt')
    return _WORDS.get(given, given) if isinstance(given, str) else given


def as_list(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


Strings: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(as_list)]
"""One text, or a list of them."""


class ConditionConfig(BaseModel):
    """A value of a span (or of its trace) compared with another."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attribute: str = ""
    """Key of an attribute as the client sent it, of the span or of its resource; instead of `field`."""
    field: str = ""
    """A field of the model, whichever dialect it came in; instead of `attribute`."""
    op: Annotated[Op, BeforeValidator(_sign)] = Op.EXISTS
    """==, !=, >, <, >=, <= (eq, ne, gt, lt, ge, le), in, matches (a regular expression, anywhere), exists."""
    value: str | int | float | bool | tuple[str | int | float | bool, ...] | None = None
    """What it is compared with: a number for <, a list for `in`, true (the default) or false for `exists`."""

    @property
    def subject(self) -> str:
        """Return what is compared: the field or the attribute's key."""
        return self.field or self.attribute

    @property
    def type(self) -> FieldType | None:
        """Return the type of a field; None for an attribute, which has that of whatever was sent."""
        known = SPAN_FIELDS.get(self.field) or TRACE_FIELDS.get(self.field)
        return known.type if known else None

    @field_validator("field")
    @classmethod
    def _known(cls, field: str) -> str:
        if field and field not in SPAN_FIELDS and field not in TRACE_FIELDS:
            known = (*SPAN_FIELDS, *TRACE_FIELDS)
            meant = "".join(f" (was {name} meant?)" for name in difflib.get_close_matches(field, known, n=1))
            raise ValueError(f"there is no field {field}{meant}: there are {', '.join(known)}")
        return field

    @model_validator(mode="after")
    def _fits(self) -> "ConditionConfig":
        if bool(self.attribute) == bool(self.field):
            raise ValueError("one of `attribute` and `field` must be named, and only one")
        if problem := _misfit(self.op, self.value, self.type):
            raise ValueError(problem)
        return self


def _misfit(op: Op, value: object, kind: FieldType | None) -> str:
    """Return why a value cannot be compared so; empty where it can."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if op in ORDERED:
        if not is_number:
            return f"`value` ({value!r}) must be a number for {op}"
        return f"`op` {op} needs a number, and this field is {kind}" if kind not in (None, "number") else ""
    if op is Op.EXISTS:
        return (
            "" if value is None or isinstance(value, bool) else f"`value` ({value!r}) must be true or false for exists"
        )
    if op is Op.IN:
        return "" if isinstance(value, tuple) and value else f"`value` ({value!r}) must be a list for in"
    if op is Op.MATCHES:
        return _bad_pattern(value) if kind in (None, "text") else f"`op` matches needs text, and this field is {kind}"
    if value is None or isinstance(value, tuple):
        return f"`value` ({value!r}) must be one value for {op}"
    if kind == "number" and not is_number:
        return f"`value` ({value!r}) must be a number: this field is one"
    if kind == "flag" and not isinstance(value, bool):
        return f"`value` ({value!r}) must be true or false: this field is"
    return ""


def _bad_pattern(value: object) -> str:
    if not isinstance(value, str) or not value:
        return f"`value` ({value!r}) must be a regular expression for matches"
    try:
        re.compile(value)
    except re.error as exc:
        return f"`value` ({value!r}) is no regular expression: {exc}"
    return ""


class RuleBase(BaseModel):
    """What every rule says of its findings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME_PATTERN)
    """Of the check that it makes: part of every fingerprint, so never renamed."""
    enabled: bool = True
    title: str = Field(min_length=1, max_length=100)
    """What its issues are called; which service and component each concerns stands beside it."""
    dimension: Dimension
    severity: Severity = Severity.LOW


class RuleConfig(ConditionConfig, RuleBase):
    """A rule of single spans, or of whole traces where its `field` begins with `trace.`.

    It finds what its comparison says is wrong, on spans of `kind` and `service` for which all of `where` hold.
    """

    kind: Annotated[tuple[SpanKind, ...], BeforeValidator(as_list)] = ()
    """llm, tool, agent, retriever, …; empty: any. Of the root for a rule of traces."""
    service: Strings = ()
    """Empty: any. Of the root for a rule of traces."""
    where: tuple[ConditionConfig, ...] = ()
    """More conditions of the same span (root), all of which must hold."""

    @property
    def is_of_trace(self) -> bool:
        """Return whether it is asked once for each trace."""
        return self.field.startswith(OF_TRACE)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Return the keys of attributes that it reads."""
        return tuple(each.attribute for each in (self, *self.where) if each.attribute)

    @property
    def asks_for_absence(self) -> bool:
        """Return whether it finds what was not sent."""
        return self.op is Op.EXISTS and self.value is False

    @model_validator(mode="after")
    def _absence_of_something(self) -> "RuleConfig":
        known = SPAN_FIELDS.get(self.field)
        if self.asks_for_absence and not (self.kind or self.where or self.is_of_trace or (known and known.expected_of)):
            raise ValueError(f"`kind` or `where` must say which spans should have {self.subject}")
        return self

    @model_validator(mode="after")
    def _one_scope(self) -> "RuleConfig":
        wrong = [each.field for each in self.where if each.field.startswith(OF_TRACE)]
        if wrong and not self.is_of_trace:
            raise ValueError(
                f"`where` names {', '.join(wrong)}, and the rule is of spans: only `field` may be of a trace"
            )
        return self


def thresholds_of_rule(rule: RuleConfig) -> dict[str, Scalar | tuple[str, ...]]:
    """Return what `clearwatch checks` shows of it."""
    shown: dict[str, Scalar | tuple[str, ...]] = {rule.subject: comparison_of(rule)}
    if rule.kind:
        shown["kind"] = tuple(rule.kind)
    if rule.service:
        shown["service"] = rule.service
    if rule.where:
        shown["where"] = tuple(f"{each.subject} {comparison_of(each)}" for each in rule.where)
    return shown


def comparison_of(condition: ConditionConfig) -> str:
    """Return the comparison in words: `> 500`."""
    value = condition.value
    if condition.op is Op.EXISTS:
        return "exists" if value in (None, True) else "is absent"
    return f"{condition.op} {', '.join(map(str, value)) if isinstance(value, tuple) else value}"
