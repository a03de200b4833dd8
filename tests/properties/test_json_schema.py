"""json_schema against a whole validator: what that accepts is never called a violation here."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.checks.json_schema import violation

jsonschema = pytest.importorskip("jsonschema", reason="comes with litellm")

NAMES = st.sampled_from("abc")
TYPES = ["string", "integer", "number", "boolean", "null", "object", "array"]
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.just({}),
    st.sampled_from(TYPES).map(lambda name: {"type": name}),
    st.lists(st.sampled_from(TYPES), min_size=1, max_size=2, unique=True).map(lambda names: {"type": names}),
    st.lists(st.sampled_from([1, "x", None, True, 2.5]), min_size=1, max_size=2).map(lambda each: {"enum": each}),
    st.just({"$ref": "#/$defs/Text"}),
)


def _within(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(NAMES, schemas, max_size=3)},
        optional={
            "required": st.lists(NAMES, max_size=2, unique=True),
            "additionalProperties": st.one_of(st.booleans(), schemas),
        },
    )
    composed = st.tuples(st.sampled_from(["anyOf", "allOf", "oneOf"]), st.lists(schemas, min_size=1, max_size=3))
    return st.one_of(
        objects,
        schemas.map(lambda each: {"type": "array", "items": each}),
        composed.map(lambda pair: {pair[0]: pair[1]}),
    )


SCHEMAS = st.recursive(LEAVES, _within, max_leaves=6)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.just(2.5), st.sampled_from(["x", "5", "true"])),
    lambda values: st.one_of(st.lists(values, max_size=2), st.dictionaries(NAMES, values, max_size=3)),
    max_leaves=5,
)


@settings(max_examples=500, deadline=None)
@given(schema=SCHEMAS, value=VALUES)
def test_no_violation_is_invented(schema: dict[str, Any], value: object) -> None:
    schema = {**schema, "$defs": {"Text": {"type": "string"}}}
    if jsonschema.Draft202012Validator(schema).is_valid(value):
        assert violation(value, schema) is None
