"""Whether a JSON value fits a JSON Schema, as far as the two can be told apart without doubt.

Not a validator: a subset whose misses are fits. Keywords that it does not know (formats, patterns, conditions) accept
everything, so do remote references. What is beyond its bounds is said not to be judged. Schemas come from telemetry:
nothing of them is compiled, run or matched as a regular expression. What the usual frameworks coerce fits too: numbers
and booleans sent as text, whole numbers as fractions.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

# a value or schema nested deeper, or a schema that refers to itself, is not judged
_MAX_DEPTH: Final = 16
# schemas that are looked at for one value, at a microsecond each: forms that refer to each other multiply
_MAX_STEPS: Final = 10_000
_COMPOSED: Final = ("anyOf", "oneOf")
_NARROWING: Final = frozenset({"$ref", "allOf", "anyOf", "oneOf", "enum", "const", "nullable"})
_EXACT: Final[Mapping[str, type]] = {"string": str, "integer": int, "boolean": bool, "number": float}


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which a value does not fit. `path` and `detail` name properties: for a rationale, not for a title."""

    kind: str
    """missing property, unknown property, wrong type, or value that is not allowed: for a title."""
    path: str
    detail: str

    def __str__(self) -> str:
        return f"{self.detail} at {self.path}" if self.path else self.detail


class NotJudgedError(Exception):
    """No violation was found in what was looked at, and that was not all."""


class _Walk:
    """One value on its way through a schema."""

    def __init__(self, whole: object) -> None:
        self.whole = whole
        self.steps = 0
        self.is_cut = False


def violation(value: object, schema: object) -> Violation | None:
    """Return the first violation of a schema by a value, or None. Raises NotJudgedError."""
    if _fits_plainly(value, schema):
        return None
    walk = _Walk(schema)
    wrong = _violation(value, schema, walk, "", 0)
    if wrong is None and walk.is_cut:
        raise NotJudgedError
    return wrong


def _fits_plainly(value: object, schema: object) -> bool:
    """Return whether a flat object fits a schema of plain types: nearly all arguments, at a tenth of the cost."""
    if type(value) is not dict or type(schema) is not dict or not _NARROWING.isdisjoint(schema):
        return False
    properties = schema.get("properties")
    if schema.get("type") != "object" or type(properties) is not dict:
        return False
    for name, each in value.items():
        wanted = properties.get(name)
        if type(wanted) is not dict or not _NARROWING.isdisjoint(wanted):
            return False
        kind = wanted.get("type")
        if type(kind) is not str or _EXACT.get(kind) is not type(each):
            return False
    required = schema.get("required")
    return required is None or (
        type(required) is list and all(type(name) is not str or name in value for name in required)
    )


def _violation(value: object, schema: object, walk: _Walk, path: str, depth: int) -> Violation | None:
    walk.steps += 1
    if not isinstance(schema, dict):
        return None
    if depth > _MAX_DEPTH or walk.steps > _MAX_STEPS:
        walk.is_cut = True
        return None
    if "$ref" in schema:
        return _violation(value, _referred(schema["$ref"], walk.whole), walk, path, depth + 1)
    if value is None and (schema.get("nullable") is True or "default" in schema):
        return None
    for part in _schemas(schema.get("allOf")):
        wrong = _violation(value, part, walk, path, depth + 1)
        if wrong is not None:
            return wrong
    for keyword in _COMPOSED:
        choices = _schemas(schema.get(keyword))
        tried = [_violation(value, choice, walk, path, depth + 1) for choice in choices]
        if tried and None not in tried:
            return tried[0] if len(tried) == 1 else _wrong_type(path, "none of the allowed forms")
    return (
        _of_type(value, schema.get("type"), path)
        or _of_values(value, schema, path)
        or _of_object(value, schema, walk, path, depth)
        or _of_items(value, schema, walk, path, depth)
    )


def _schemas(found: object) -> list[object]:
    return found if isinstance(found, list) else []


def _referred(reference: object, whole: object) -> object:
    """Return what a local reference (`#/$defs/Name`) names, or a schema that everything fits."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return {}
    found = whole
    for step in reference.removeprefix("#").removeprefix("/").split("/"):
        if step:
            found = found.get(step) if isinstance(found, dict) else None
    return found or {}


def _of_type(value: object, names: object, path: str) -> Violation | None:
    """Test the type; names are one or a list, in any case (Gemini writes them in capitals)."""
    wanted = [name.lower() for name in (names if isinstance(names, list) else [names]) if isinstance(name, str)]
    if not wanted or any(_is(value, name) for name in wanted):
        return None
    return _wrong_type(path, f"{_type_of(value)} instead of {' or '.join(wanted)}")


def _wrong_type(path: str, detail: str) -> Violation:
    return Violation(kind="a value of the wrong type", path=path, detail=detail)


def _is(value: object, name: str) -> bool:
    match name:
        case "object":
            return isinstance(value, Mapping)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool) or (isinstance(value, str) and value.lower() in ("true", "false"))
        case "integer":
            return _is_number(value, whole=True)
        case "number":
            return _is_number(value, whole=False)
        case _:
            return True


def _is_number(value: object, *, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return False
    return not whole or number.is_integer()


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _of_values(value: object, schema: Mapping[str, Any], path: str) -> Violation | None:
    allowed = schema.get("enum")
    if "const" in schema:
        allowed = [schema["const"]]
    if not isinstance(allowed, list) or not allowed or value in allowed:
        return None
    # enums of numbers and booleans are coerced as their types are
    if not isinstance(value, dict | list) and str(value).lower() in {str(choice).lower() for choice in allowed}:
        return None
    return Violation(kind="a value that is not allowed", path=path, detail="none of the allowed values")


def _of_object(value: object, schema: Mapping[str, Any], walk: _Walk, path: str, depth: int) -> Violation | None:
    if not isinstance(value, Mapping):
        return None
    properties = schema.get("properties")
    known: Mapping[str, object] = properties if isinstance(properties, dict) else {}
    for name in _names(schema.get("required")):
        has_default = isinstance(known.get(name), dict) and "default" in known[name]  # type: ignore[operator]
        if name not in value and not has_default:
            return Violation(kind="a property missing", path=path, detail=f"{name!r} is missing")
    if schema.get("additionalProperties") is False and known and "patternProperties" not in schema:
        for name in value:
            if name not in known:
                return Violation(kind="a property that is not known", path=path, detail=f"{name!r} is not known")
    for name, inner in known.items():
        if name in value:
            wrong = _violation(value[name], inner, walk, f"{path}.{name}" if path else name, depth + 1)
            if wrong is not None:
                # null for what may be left out is how many models leave it out
                if value[name] is None and name not in _names(schema.get("required")):
                    continue
                return wrong
    return None


def _names(found: object) -> Iterable[str]:
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else ()


def _of_items(value: object, schema: Mapping[str, Any], walk: _Walk, path: str, depth: int) -> Violation | None:
    items = schema.get("items")
    if not isinstance(value, list) or not isinstance(items, dict):
        return None
    for item in value:
        if walk.is_cut:
            break
        wrong = _violation(item, items, walk, f"{path}[]", depth + 1)
        if wrong is not None:
            return wrong
    return None
