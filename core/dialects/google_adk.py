"""Google ADK: OTel GenAI, and what older versions keep in gcp.vertex.agent.* attributes.

Requests and responses are Gemini's JSON. `{}` stands there where content is not captured, so it says nothing, not even
"no arguments". Names: google-adk 1.12 and 2.13, google/adk/telemetry/tracing.py; ADK for Java 1.8.0, whose spans are
those of the older versions.
"""

import re
from typing import Any, Final

from core.dialects import gemini, otel_genai
from core.dialects.answers import Answer
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import as_json, name, structure, text
from core.model.span import SpanKind
from core.otlp.slim import Value

_UNSAID: Final = frozenset({"", "{}", "N/A", "<not serializable>", '"<not serializable>"', "null"})
_MERGED: Final = "(merged tools)"
# "call_llm", "agent_run [travel_agent]", "invocation [app]", "execute_tool search": versions that name no operation
_NAMED: Final = re.compile(r"(call_llm|agent_run|invocation|send_data|compact_events)\b(?: \[(.*)\])?")
_KINDS: Final = {
    "call_llm": SpanKind.LLM,
    "agent_run": SpanKind.AGENT,
    "invocation": SpanKind.CHAIN,
    "send_data": SpanKind.CHAIN,
    "compact_events": SpanKind.CHAIN,
}


def said(value: Value) -> str | None:
    """Return text, None for what stands where nothing was captured."""
    found = text(value)
    return None if found in _UNSAID else found


def answer(value: Value) -> Answer | None:
    """Return the answer in `gcp.vertex.agent.llm_response`."""
    found = structure(said(value))
    return gemini.answer(found) if isinstance(found, dict) else None


def read(reading: Reading) -> None:
    """Tell kinds by span names where no operation is named, and read a request's tools and output schema."""
    found = reading.found
    if reading.kind is SpanKind.UNKNOWN and (named := _NAMED.match(reading.name)) is not None:
        reading.kind = _KINDS[named[1]]
        if named[2] and reading.kind is SpanKind.AGENT:
            found[Field.AGENT] = found[Field.AGENT] or named[2]
    if reading.kind is SpanKind.TOOL and (found[Field.TOOL_NAME] or reading.name).endswith(_MERGED):
        # a span over several calls, each of which has its own
        reading.kind = SpanKind.CHAIN
        found[Field.TOOL_NAME] = None
    otel_genai.read(reading)
    if reading.kind is SpanKind.LLM and found[Field.TOOL_DEFINITIONS] is None:
        _request(reading, structure(found[Field.INPUT]))


def _request(reading: Reading, request: Any) -> None:
    if not isinstance(request, dict):
        return
    found = reading.found
    found[Field.MODEL] = found[Field.MODEL] or name(request.get("model"))
    config = request.get("config")
    if not isinstance(config, dict):
        return
    if config.get("tools"):
        found[Field.TOOL_DEFINITIONS] = as_json(gemini.json_schema(config["tools"]))
    schema = config.get("response_schema") or config.get("response_json_schema")
    if isinstance(schema, dict):
        found[Field.OUTPUT_SCHEMA] = as_json(gemini.json_schema(schema))
    if config.get("response_mime_type") == "application/json":
        found[Field.OUTPUT_TYPE] = found[Field.OUTPUT_TYPE] or "json"


DIALECT = Dialect(
    name="google_adk",
    marks=("gcp.vertex.agent.invocation_id", "gcp.vertex.agent.event_id", "gcp.vertex.agent.llm_request"),
    scopes=("gcp.vertex.agent",),
    rows=(
        (Field.TOOL_ARGUMENTS, said, ("gcp.vertex.agent.tool_call_args",)),
        (Field.TOOL_CALL_ID, name, ("gen_ai.tool_call.id",)),
        (Field.TOOL_RESULT, said, ("gcp.vertex.agent.tool_response",)),
        (Field.INPUT, said, ("gcp.vertex.agent.llm_request", "gcp.vertex.agent.data")),
        (Field.OUTPUT, answer, ("gcp.vertex.agent.llm_response",)),
        (Field.SESSION, name, ("gcp.vertex.agent.session_id",)),
    ),
    read=read,
)
