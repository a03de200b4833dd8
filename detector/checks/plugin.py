"""A check that does not ship, made of the class that a third party wrote; importing that is done elsewhere."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec

from core.model.finding import Dimension
from detector.checks.port import Check, CheckConfig, needs_of
from detector.sessions.checks.port import SessionCheck

# part of fingerprints, metric labels and configuration keys
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{1,63}")


TRACE: Final = "trace"
SESSION: Final = "session"


class Plugin(msgspec.Struct, frozen=True, kw_only=True):
    """A check of a third party, made. `origin` says where it came from, for people."""

    check: Check | SessionCheck
    config: CheckConfig
    origin: str
    speaks_of: str = TRACE

    @property
    def trace_check(self) -> tuple[Check, ...]:
        """Return the check where it speaks of traces, else nothing."""
        return (cast("Check", self.check),) if self.speaks_of == TRACE else ()

    @property
    def session_check(self) -> tuple[SessionCheck, ...]:
        """Return the check where it speaks of sessions, else nothing."""
        return (cast("SessionCheck", self.check),) if self.speaks_of == SESSION else ()


def name_of(given: object) -> str:
    """Return the name of a class of checks. Raises ValueError where it is none, with what is missing."""
    if not isinstance(given, type):
        raise ValueError(f"{given!r} is not a class of checks")
    name, what = getattr(given, "name", None), f"class {given.__name__}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{what}: `name` ({name!r}) must be lower case letters, digits and underscores")
    if not isinstance(getattr(given, "dimension", None), Dimension):
        raise ValueError(f"{what}: `dimension` must be a Dimension")
    if not callable(inspected := getattr(given, "inspect", None)):
        raise ValueError(f"{what}: `inspect` is missing")
    is_bound = isinstance(inspect.getattr_static(given, "inspect"), staticmethod | classmethod)
    if problem := _misshapen(inspected, (None,) if is_bound else (None, None)):
        raise ValueError(f"{what}: `inspect` {problem}")
    if getattr(given, "speaks_of", TRACE) not in (TRACE, SESSION):
        raise ValueError(f"{what}: `speaks_of` must be {TRACE!r} or {SESSION!r}")
    try:
        needs_of(given)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"{what}: `needs` must be a tuple of Need: {exc}") from exc
    model = getattr(given, "config", CheckConfig)
    if not (isinstance(model, type) and issubclass(model, CheckConfig)):
        raise ValueError(f"{what}: `config` must be a class of CheckConfig")
    return name


def _misshapen(inspected: Callable[..., object], given: tuple[None, ...]) -> str:
    """Return why a method cannot be asked with so many arguments; empty where it can."""
    if inspect.iscoroutinefunction(inspected) or inspect.isgeneratorfunction(inspected):
        return "must be a plain function that returns an Answer: neither async nor a generator"
    try:
        inspect.signature(inspected).bind(*given)
    except TypeError:
        return "must take the trace, or the conversation, and nothing else"
    except ValueError:
        # made by something that does not tell: the first trace will
        pass
    return ""


def make(given: object, options: Mapping[str, Any], *, origin: str) -> Plugin:
    """Return the check of a class, made with its `config` of these options, or of nothing where it takes none.

    Raises pydantic.ValidationError for options that it refuses, ValueError where it is no check. What its constructor
    raises passes through.
    """
    name_of(given)
    model: type[CheckConfig] = getattr(given, "config", CheckConfig)
    config = model.model_validate(dict(options))
    assert isinstance(given, type)  # noqa: S101 - `name_of` has looked
    check = given(config) if hasattr(given, "config") else given()
    return Plugin(check=check, config=config, origin=origin, speaks_of=getattr(given, "speaks_of", TRACE))
