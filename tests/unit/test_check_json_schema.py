"""json_schema: what surely does not fit, and all that is let pass."""

from typing import Any

import pytest

from detector.checks.json_schema import NotJudgedError, violation

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "near": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    },
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "kind", "path"),
    [
        ({}, "a property missing", ""),
        ([], "a value of the wrong type", ""),
        ({"city": 3}, "a value of the wrong type", "city"),
        ({"city": None}, "a value of the wrong type", "city"),
        ({"city": "Lisbon", "days": "soon"}, "a value of the wrong type", "days"),
        ({"city": "Lisbon", "days": 1.5}, "a value of the wrong type", "days"),
        ({"city": "Lisbon", "unit": "kelvin"}, "a value that is not allowed", "unit"),
        ({"city": "Lisbon", "tags": ["a", {}]}, "a value of the wrong type", "tags[]"),
        ({"city": "Lisbon", "near": "x"}, "a value of the wrong type", "near"),
        ({"city": "Lisbon", "town": "x"}, "a property that is not known", ""),
    ],
)
def test_a_violation_is_named_with_its_place(value: object, kind: str, path: str) -> None:
    found = violation(value, WEATHER)
    assert found is not None
    assert (found.kind, found.path) == (kind, path)


@pytest.mark.parametrize(
    "value",
    [
        {"city": "Lisbon", "days": 3, "unit": "celsius", "tags": ["a"], "near": None},
        {"city": "Lisbon", "days": "3"},
        {"city": "Lisbon", "days": 3.0},
        {"city": "Lisbon", "unit": "CELSIUS"},
        {"city": "Lisbon", "days": None},
    ],
    ids=["all", "a number in quotation marks", "a whole fraction", "another case", "null for what is optional"],
)
def test_what_frameworks_coerce_fits(value: object) -> None:
    assert violation(value, WEATHER) is None


def test_local_references_are_followed_and_others_fit() -> None:
    schema = {
        "$defs": {"City": {"type": "object", "required": ["name"]}},
        "properties": {"c": {"$ref": "#/$defs/City"}},
    }
    assert violation({"c": {"name": "x"}}, schema) is None
    assert violation({"c": {}}, schema) is not None
    assert violation({"c": {}}, {"properties": {"c": {"$ref": "https://example.org/city.json"}}}) is None
    assert violation({"c": {}}, {"properties": {"c": {"$ref": "#/$defs/None"}}}) is None


def test_a_schema_that_refers_to_itself_is_not_judged() -> None:
    with pytest.raises(NotJudgedError):
        violation({"a": 1}, {"$ref": "#"})


def test_types_in_capitals_and_nullable_ones_are_read() -> None:
    schema = {"type": "OBJECT", "properties": {"city": {"type": "STRING", "nullable": True}}, "required": ["city"]}
    assert violation({"city": None}, schema) is None
    assert violation({"city": {}}, schema) is not None


def test_required_properties_with_a_default_may_be_left_out() -> None:
    assert violation({}, {"properties": {"days": {"type": "integer", "default": 1}}, "required": ["days"]}) is None


@pytest.mark.parametrize(
    "schema", [None, True, [], "x", {"type": "tuple"}, {"pattern": "("}, {"anyOf": "x"}, {"enum": 3}]
)
def test_what_is_no_schema_accepts_everything(schema: object) -> None:
    assert violation({"a": [1, "x"]}, schema) is None


def test_a_list_of_types_is_read() -> None:
    schema = {"type": "object", "properties": {"city": {"type": ["string", "null"]}, "odd": {"type": 3}}}
    assert violation({"city": None, "odd": 1}, schema) is None
    assert violation({"city": {}}, schema) is not None


def test_plain_types_that_only_nearly_fit_are_read_in_full() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "number"}, "b": {"type": "boolean"}}, "required": ["n"]}
    assert violation({"n": 1, "b": "true"}, schema) is None
    assert violation({"n": True}, schema) is not None
    assert violation({"b": True}, schema) is not None


def test_forms_that_refer_to_each_other_are_given_up_soon() -> None:
    forms: dict[str, Any] = {"anyOf": [{"type": "string"}, *({"$ref": "#"} for _ in range(20))]}
    # forms that were followed each time would not end within the age of the universe
    with pytest.raises(NotJudgedError):
        violation({"a": 1}, forms)


def test_every_item_of_an_array_is_looked_at_up_to_a_bound() -> None:
    schema = {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}}
    items: list[object] = [{"n": n} for n in range(3_000)]
    assert violation(items, schema) is None
    wrong = violation([*items, {"n": "many"}], schema)
    assert wrong is not None
    assert wrong.path == "[].n"
    with pytest.raises(NotJudgedError):
        violation([*items * 3, {"n": "many"}], schema)
    # what was found before the bound stands
    assert violation([{"n": "many"}, *items * 3], schema) is not None


def test_what_is_nested_beyond_reading_is_not_judged() -> None:
    schema: dict[str, Any] = {"type": "array", "items": {"$ref": "#"}}
    value: list[object] = []
    for _ in range(30):
        value = [value]
    with pytest.raises(NotJudgedError):
        violation(value, schema)


def test_required_names_that_are_no_text_are_left_out() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": [["city"], {"a": 1}, None]}
    assert violation({"city": "Lisbon"}, schema) is None
