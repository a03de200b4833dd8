"""Puts together what only some spans say (`Details`)."""

from collections.abc import Sequence
from typing import Any, Final

from core.dialects.parameters import asked_format
from core.dialects.table import COMMON_FIELDS, Field
from core.model.span import Details

_END: Final = int(Field.SYSTEM) + 1
_PARAMETERS: Final = int(Field.PARAMETERS)


def details_of(found: Sequence[Any]) -> Details:
    """Return what the fields of `Details` say, by field; the parameters of a call fill what no field says."""
    (
        definitions, output_type, schema, max_tokens, temperature, is_stream, documents, query, prompt_name,
        prompt_version, attempt, evaluations, server, system,
    ) = found[COMMON_FIELDS:_END]  # fmt: skip
    asked = found[_PARAMETERS]
    if asked is not None:
        definitions = definitions or asked.tools
        max_tokens = asked.max_tokens if max_tokens is None else max_tokens
        temperature = asked.temperature if temperature is None else temperature
        is_stream = asked.is_stream if is_stream is None else is_stream
        schema = schema or asked.response_format
    if schema:
        asked_type, schema = asked_format(schema)
        output_type = asked_type or output_type
    # by position: keywords cost as much again
    return Details(
        definitions or "",
        output_type or "",
        schema or "",
        max_tokens,
        temperature,
        is_stream,
        documents,
        query or "",
        prompt_name or "",
        prompt_version or "",
        attempt or 0,
        evaluations or (),
        server or "",
        system or "",
    )
