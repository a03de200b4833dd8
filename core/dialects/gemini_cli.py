"""Gemini CLI: OTel GenAI with operation names of its own and messages in Gemini's shape.

Operations: llm_call, tool_call, agent_call, user_prompt, system_prompt, schedule_tool_calls; a tool call's id is
`gen_ai.tool.call_id`, and its request, {callId, name, args}, its input. A streamed answer is a list of messages, one a
chunk. `gen_ai.prompt.name` is the session's id, which names no prompt. Texts are cut at 10,000 characters with
"...[TRUNCATED: original length N]", which the content state says. Retries and loop checks go out as log events. Names:
MLflow 3.17's translator, the CLI's documentation of its telemetry and exports of 0.61.
"""

from core.dialects import otel_genai
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import structure, text
from core.model.span import SpanKind


def read(reading: Reading) -> None:
    """Read as OTel GenAI; the text of a tool's span is its call and its result."""
    otel_genai.read(reading)
    found = reading.found
    if found[Field.PROMPT_NAME] is not None and found[Field.PROMPT_NAME] == found[Field.SESSION]:
        found[Field.PROMPT_NAME] = None
    if reading.kind is SpanKind.TOOL:
        found[Field.TOOL_NAME] = found[Field.TOOL_NAME] or reading.name.removeprefix("tool_call").strip() or None
        request = structure(found[Field.INPUT])
        if isinstance(request, dict) and "callId" in request:
            found[Field.TOOL_ARGUMENTS] = text(request.get("args"))


DIALECT = Dialect(name="gemini_cli", scopes=("gemini-cli", "gemini_cli", "@google/gemini-cli"), read=read)
