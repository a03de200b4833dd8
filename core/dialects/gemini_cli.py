"""Gemini CLI: OTel GenAI with operation names of its own and messages in Gemini's shape.

Operations: llm_call, tool_call, agent_call, user_prompt, system_prompt, schedule_tool_calls; a tool call's id is
`gen_ai.tool.call_id`. Texts are cut at 10,000 characters with "...[TRUNCATED: original length N]", which the content
state says. Errors, retries and loop checks go out as log events. Names: MLflow 3.17's translator and the CLI's
documentation of its telemetry.
"""

from core.dialects import otel_genai
from core.dialects.table import Dialect, Field, Reading
from core.model.span import SpanKind


def read(reading: Reading) -> None:
    """Read as OTel GenAI; the text of a tool's span is its call and its result."""
    otel_genai.read(reading)
    found = reading.found
    if reading.kind is SpanKind.TOOL and found[Field.TOOL_NAME] is None:
        found[Field.TOOL_NAME] = reading.name.removeprefix("tool_call").strip() or None


DIALECT = Dialect(name="gemini_cli", scopes=("gemini-cli", "gemini_cli", "@google/gemini-cli"), read=read)
