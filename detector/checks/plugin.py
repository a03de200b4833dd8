"""A check that does not ship, made of the class that a third party wrote; importing that is done elsewhere."""

import re
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
import pydantic

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
    if not callable(getattr(given, "inspect", None)):
        raise ValueError(f"{what}: `inspect` is missing")
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


def make(given: object, options: Mapping[str, Any], *, origin: str) -> Plugin:
    """Return the check of a class, made with its `config` of these options, or of nothing where it takes none.

    Raises ValueError with the reason: no check, or options that it refuses. What its constructor raises passes through.
    """
    name_of(given)
    model: type[CheckConfig] = getattr(given, "config", CheckConfig)
    try:
        config = model.model_validate(dict(options))
    except pydantic.ValidationError as exc:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors())
        raise ValueError(said) from exc
    assert isinstance(given, type)  # noqa: S101 - `name_of` has looked
    check = given(config) if hasattr(given, "config") else given()
    return Plugin(check=check, config=config, origin=origin, speaks_of=getattr(given, "speaks_of", TRACE))
