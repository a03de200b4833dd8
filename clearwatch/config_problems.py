"""What is wrong with a configuration, in words for people: key, what it must be, and where it stands."""

import difflib
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import pydantic_core
import yaml
from pydantic import BaseModel

_Key = tuple[str, ...]

_WORDS: Final = {
    "missing": "is missing: it has no default",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "set_type": "must be a list",
    "dict_type": "must hold keys with their values",
    "model_type": "must hold keys with their values",
    "model_attributes_type": "must hold keys with their values",
    "string_type": "must be text: quote it",
    "timezone_aware": "must have its timezone: 2026-12-01T08:00:00Z",
}
_A_TIME: Final = "must be a day (2026-12-01) or a time with its zone (2026-12-01T08:00:00Z)"
# how pydantic begins
_SHOULD: Final = "Input should "
# parts of a place that are no keys: which member of a union was tried
_NO_KEY: Final = re.compile(r"[\[\]()]")
# of the names that there are, one so alike is what was meant
_ALIKE_RATIO: Final = 0.7


class Places:
    """Where each key of a configuration was written: the line of the file, or the variable. Variables win."""

    def __init__(self, path: str = "", lines: Mapping[_Key, int] | None = None) -> None:
        self._path = path
        self._lines = dict(lines or {})
        self._variables: dict[_Key, str] = {}

    def of_variable(self, key: Sequence[str], variable: str) -> None:
        """Note that a variable gave this key."""
        self._variables[tuple(key)] = variable

    def of(self, key: Sequence[str]) -> str:
        """Return where a key stands, or what is nearest above it; a variable below it where nothing else is known."""
        key = tuple(key)
        for length in range(len(key), 0, -1):
            if variable := self._variables.get(key[:length]):
                return f"from {variable}"
            if line := self._lines.get(key[:length]):
                return f"{self._path}, line {line}"
        below = sorted(name for each, name in self._variables.items() if each[: len(key)] == key)
        return f"from {below[0]}" if below else ""


def problems(errors: Iterable[pydantic_core.ErrorDetails], model: type[BaseModel], places: Places) -> list[str]:
    """Return one line for each key that cannot be used: its name, what it must be, where it was written."""
    told: dict[_Key, dict[str, None]] = {}
    hints: dict[_Key, str] = {}
    for error in errors:
        key = tuple(str(part) for part in error["loc"] if not _NO_KEY.search(str(part)))
        # a value that fits no member of a union has an error for each
        told.setdefault(key, {})[_words(error)] = None
        hints[key] = hints.get(key) or _hint(error, key, model)
    return [
        f"{'.'.join(key) or '(top)'}: {', or '.join(words)}{hints[key]}{f' ({at})' if (at := places.of(key)) else ''}"
        for key, words in told.items()
    ]


def _words(error: pydantic_core.ErrorDetails) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        return "unknown key"
    if kind in _WORDS:
        return _WORDS[kind]
    if kind.startswith("datetime_"):
        return _A_TIME
    if kind == "string_pattern_mismatch":
        return f"must match {error.get('ctx', {}).get('pattern', 'its pattern')}"
    said = error["msg"]
    return f"must {said.removeprefix(_SHOULD)}" if said.startswith(_SHOULD) else said.removeprefix("Value error, ")


def _hint(error: pydantic_core.ErrorDetails, key: _Key, model: type[BaseModel]) -> str:
    if error["type"] == "extra_forbidden":
        return _meant(key[-1], _names_beside(key, model)) if key else ""
    if error["type"] in ("enum", "literal_error") and isinstance(given := error.get("input"), str):
        # one of few words is no secret
        known = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
        return _meant(given, known) or f", not {given!r:.60}"
    return ""


def _meant(given: str, known: Iterable[str]) -> str:
    """Return which of these names was meant, as a question to append; nothing where none is alike."""
    alike = difflib.get_close_matches(given, list(known), n=1, cutoff=_ALIKE_RATIO)
    return f"; was {alike[0]} meant?" if alike else ""


def _names_beside(key: _Key, model: type[BaseModel]) -> Iterable[str]:
    """Return the keys that may stand where this one does."""
    at: type[BaseModel] | None = model
    for part in key[:-1]:
        if at is None:
            return ()
        if part.isdecimal():
            continue
        field = at.model_fields.get(part)
        at = next(_models_in(field.annotation), None) if field is not None else None
    return [field.alias or name for name, field in at.model_fields.items()] if at is not None else ()


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def lines_of(node: yaml.Node | None) -> tuple[dict[_Key, int], list[str]]:
    """Return the line of each key of a YAML document, and what stands in it twice: YAML would take the last."""
    lines: dict[_Key, int] = {}
    twice: list[str] = []
    waiting: list[tuple[_Key, yaml.Node | None, frozenset[int]]] = [((), node, frozenset())]
    while waiting:
        above, at, within = waiting.pop()
        if at is None or id(at) in within:
            # an alias of what it stands in
            continue
        within |= {id(at)}
        if isinstance(at, yaml.SequenceNode):
            for number, item in enumerate(at.value):
                lines[*above, str(number)] = item.start_mark.line + 1
                waiting.append(((*above, str(number)), item, within))
        if not isinstance(at, yaml.MappingNode):
            continue
        seen: dict[str, int] = {}
        for name, value in at.value:
            line, word = name.start_mark.line + 1, str(name.value)
            if word in seen and word != "<<":
                twice.append(f"{'.'.join((*above, word))}: stands here twice, on lines {seen[word]} and {line}")
            seen[word] = line
            lines[*above, word] = line
            waiting.append(((*above, word), value, within))
    return lines, sorted(twice)
