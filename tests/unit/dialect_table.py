"""The table of docs/dialects.md: dialect × field, worked out of the examples, with what is known of the rest.

Usage: `python -m tests.unit.dialect_table docs/dialects.md`.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from core.dialects.messages import definitions
from core.dialects.registry import DIALECTS
from core.model.span import ContentState, ErrorClass, FinishReason, Span, SpanKind
from tests.unit.dialect_examples import EXAMPLES

_PRESENT = ContentState.PRESENT

FIELDS: Final[Mapping[str, Callable[[Span], bool]]] = {
    "kind": lambda s: s.kind is not SpanKind.UNKNOWN,
    "model": lambda s: bool(s.model),
    "provider": lambda s: bool(s.provider),
    "agent": lambda s: bool(s.agent),
    "input": lambda s: s.input.state is _PRESENT and s.kind is not SpanKind.TOOL,
    "output": lambda s: s.output.state is _PRESENT and s.kind is not SpanKind.TOOL,
    "tool": lambda s: s.tool is not None and bool(s.tool.name),
    "arguments": lambda s: s.tool is not None and bool(s.tool.arguments),
    "result": lambda s: s.tool is not None and s.output.state is _PRESENT,
    "call id": lambda s: s.tool is not None and bool(s.tool.call_id),
    "tools offered": lambda s: s.kind is not SpanKind.TOOL and bool(definitions(s.details)),
    "format asked": lambda s: bool(s.details.output_type),
    "limits": lambda s: s.details.max_tokens is not None,
    "stream": lambda s: s.details.is_stream is not None,
    "tokens": lambda s: s.usage is not None and s.usage.input_tokens > 0,
    "cached": lambda s: s.usage is not None and s.usage.cached_tokens > 0,
    "cache written": lambda s: s.usage is not None and s.usage.cache_write_tokens > 0,
    "reasoning": lambda s: s.usage is not None and s.usage.reasoning_tokens > 0,
    "cost": lambda s: s.cost_usd is not None,
    "finish": lambda s: s.finish_reason is not FinishReason.UNKNOWN,
    "session": lambda s: bool(s.session_id),
    "user": lambda s: bool(s.user_id),
    "error class": lambda s: s.error is not None and s.error.error_class is not ErrorClass.OTHER,
    "first token": lambda s: s.time_to_first_token_s is not None,
    "documents": lambda s: s.details.documents is not None,
    "retries": lambda s: s.details.attempt > 0,
    "prompt version": lambda s: bool(s.details.prompt_version),
}


@functools.cache
def found(dialect: str) -> frozenset[str]:
    """Return the fields that are found in a dialect's examples."""
    spans = [example.read() for example in EXAMPLES[dialect]]
    return frozenset(field for field, has in FIELDS.items() if any(map(has, spans)))


# what the examples do not show: not sent by the client (as measured on real exports or read in its source), sent in log
# records that join their span, sent but not supported, or not known, because no export has been seen
NOT_SENT: Final[Mapping[str, str]] = {
    "OTel GenAI, 1.37 and later": "cost",
    "OTel GenAI before 1.37": (
        "arguments, result, tools offered, stream, cached, cache written, reasoning, cost, session, user, first token, "
        "documents, retries, prompt version"
    ),
    "OpenLLMetry": "call id, cost, retries",
    "OpenLLMetry before 0.5": (
        "call id, format asked, cache written, reasoning, cost, documents, retries, prompt version"
    ),
    "OpenInference": "retries",
    "CrewAI (OpenInference)": (
        "model, provider, call id, tools offered, format asked, limits, stream, tokens, cached, cache written, "
        "reasoning, cost, finish, session, user, first token, documents, retries, prompt version"
    ),
    "MLflow": "agent, reasoning, retries",
    "Langfuse": "stream, finish, retries",
    "LangSmith": "format asked, cost, first token, retries",
    "Pydantic AI": "stream, cache written, user, documents, prompt version",
    "Logfire": (
        "agent, tool, arguments, result, call id, session, user, first token, documents, retries, prompt version"
    ),
    "CrewAI": "call id, cost, first token, retries, prompt version",
    "Haystack": (
        "provider, stream, cache written, reasoning, cost, session, user, retries, prompt version"
    ),
    "AG2": (
        "tools offered, format asked, limits, stream, reasoning, cost, session, user, first token, documents, retries, "
        "prompt version"
    ),
    "AgentOps": (
        "call id, format asked, limits, cached, cache written, reasoning, cost, session, user, first token, documents, "
        "retries, prompt version"
    ),
    "Laminar": (
        "agent, call id, limits, cache written, cost, documents, retries, prompt version"
    ),
    "LlamaIndex": (
        "provider, result, stream, cache written, cost, session, user, first token, retries, prompt version"
    ),
    "OpenAI Agents (Logfire)": (
        "call id, stream, cache written, cost, first token, documents, retries, prompt version"
    ),
    "LiteLLM": (
        "agent, tool, arguments, result, call id, cached, cache written, reasoning, first token, documents, retries, "
        "prompt version"
    ),
    "Vercel AI 3 to 6": "cost, retries, prompt version",
    "Vercel AI 7": "stream, cost, retries, prompt version",
    "Strands": (
        "provider, format asked, limits, stream, reasoning, cost, documents, retries, prompt version"
    ),
    "Spring AI": "agent, format asked, reasoning, cost, user, first token, documents, retries, prompt version",
    "Mastra": "format asked, stream, cache written, cost, documents, retries, prompt version",
    "Genkit": "agent, call id, stream, cache written, cost, user, first token, retries, prompt version",
    "VoltAgent": (
        "provider, tools offered, format asked, limits, stream, cache written, cost, first token, documents, retries, "
        "prompt version"
    ),
    "Google ADK": "stream, cache written, cost, user, first token, documents, retries, prompt version",
    "MS Agent Framework": "format asked, stream, cost, user, first token, documents, retries, prompt version",
    "Claude Code": "format asked, limits, stream, reasoning, documents, prompt version",
    "Codex CLI": (
        "agent, output, arguments, result, tools offered, format asked, limits, stream, cost, documents, prompt version"
    ),
    "Gemini CLI": "tools offered, cost, documents, prompt version",
}  # fmt: skip
IN_LOGS: Final[Mapping[str, str]] = {
    "OTel GenAI before 1.37": "input, output",
    "Claude Code": "cost",
    "Codex CLI": "input",
}
NOT_SUPPORTED: Final[Mapping[str, str]] = {
    "LangSmith": "cache written",
    "Logfire": "cache written",
    "LiteLLM": "format asked",
    "Vercel AI 3 to 6": "documents",
    "Vercel AI 7": "documents",
    "Codex CLI": "first token",
}
UNKNOWN: Final[Mapping[str, str]] = {
    "Claude Code": "agent",
    "Codex CLI": "provider, tool, call id, cache written, finish, user, retries",
    "Gemini CLI": (
        "provider, format asked, limits, stream, cache written, reasoning, finish, user, first token, retries"
    ),
}  # fmt: skip

NOTES: Final[Mapping[str, str]] = {
    "OTel GenAI, 1.37 and later": """Content is opt-in. Where it goes out as log records
(`gen_ai.client.inference.operation.details`) it joins its span, before or after it. An answer that is empty is left out
by several instrumentations: it is taken for empty where the prompt was sent and at most one token counted. Clients that
write spans of their own (Anthropic's SDK, `com.anthropic.sdk`) tell a call twice, below or beside the instrumentation's
span: it counts once, and each span is asked for what the other does not say. Agno's, LlamaIndex's and smolagents'
instrumentations send agents and tools, and no model calls.""",
    "OTel GenAI before 1.37": """The default of `opentelemetry-instrumentation-openai-v2`. Messages go out as log
records and join their span; without a log exporter there is no text, and checks of text answer "unknown". Streams have
no finish reason.""",
    "OpenLLMetry": """Of LangChain the provider reads "langgraph" or "langchain": taken as none. A tool's arguments
stand in `traceloop.entity.input` as a Python repr; up to 20,000 characters of one are read.""",
    "OpenLLMetry before 0.5": """One attribute for each leaf of each message: long chats exceed the SDK's limit of 128
attributes, which drops the oldest, model and system prompt first. Such a span is "truncated". An abandoned stream sends
no span.""",
    "OpenInference": """`__REDACTED__` is content withheld, not content. `tool.parameters` is a tool's schema, its
arguments are `input.value`. LangChain's session stands in `metadata`. The instrumentation of OpenAI's Agents SDK does
not export `group_id`: no session. A message with a role alone is an empty answer. Private methods that LlamaIndex
traces (`OpenAI._prepare_chat_with_tools`) are chains.""",
    "CrewAI (OpenInference)": """Crews, tasks, agents and tools; what the model said comes from the instrumentation of
its client. CrewAI's own telemetry (`crewai.telemetry`) repeats it without times: its spans are chains.""",
    "MLflow": """Every value is JSON. Trace metadata set by `update_current_trace` is not exported: sessions are found
where they are span attributes.""",
    "Langfuse": """Its processor stamps `langfuse.environment` and `langfuse.trace.*` on the spans of other libraries:
only `langfuse.observation.*` makes a span Langfuse's. A finish reason is found only where the output is a whole
response, or in the output of LangChain's chain around the call. Provider and call id are LangChain's, the format asked
is noted by the wrapper of OpenAI's client. Scores go to Langfuse's API, not over OTLP.""",
    "LangSmith": """`langsmith.trace.session_name` and `session_id` are the project and never taken for a session. Kinds
are those of the run, for a retriever's operation is "embeddings" and a prompt's "chat". Tokens stand on parents too.
The status has no message; the real error is read out of the exception event.""",
    "Pydantic AI": """Instrumentation versions 1 (`events`), 2 (`tool_arguments`) and 5. A failed call sends no input. A
tool's retry has status ERROR with an empty message. Invalid arguments arrive as `{"INVALID_JSON": …}`.""",
    "Logfire": """Its scrubbing replaces `session.id` by "[Scrubbed due to 'session']", which is no session. Of a
streamed call the span ends when the stream opens: it is an HTTP call here, and the log-like span that brings the answer
is the LLM call.""",
    "CrewAI": """Its own traces (`crewai.telemetry.tracing`). An agent is named by its role, not by the hash that stands
for its name; a task's id is no session; the tools offered are the agent's, since a call's schemas are Python reprs.""",
    "Haystack": """Components are known by their classes (`OpenAIChatGenerator`, `InMemoryBM25Retriever`), steps of
agents by their span's name. A component that runs tools is the call that it made, a chain where there are several. A
call whose arguments are no JSON is dropped by Haystack: its reply is a malformed call.""",
    "AG2": """OTel GenAI. The span that notes a call's tokens again beside it counts none. An empty answer is left out:
it is taken for empty where the conversation was sent.""",
    "AgentOps": """Model calls are flattened OTel GenAI without the calls that an answer asks for: those are spans of no
length below it, chains here, since the functions that make them are spans too.""",
    "Laminar": """Its instrumentations are OpenLLMetry's, with OpenAI's choices under the key of messages. Agents are
functions that the app decorates: chains here.""",
    "LlamaIndex": """What a span did stands in events named after LlamaIndex's own. A streamed call tells neither its
answer nor its tokens: it ends as the stream opens. A function is named by the summary of the step that called it, its
result stands in the next model call.""",
    "OpenAI Agents (Logfire)": """Spans are named by the templates of their messages, which tell their kinds. A chat
completion brings neither a finish reason nor tools nor the format asked (the agent's span names its tools), a call of
the Responses API does. Scrubbed errors repeat that of the model call below.""",
    "LiteLLM": """The raw call to the provider, a child span, is an HTTP call. A session is found only in
`metadata.requester_metadata`. No tool runs in LiteLLM, so there are no tool spans.""",
    "Vercel AI 3 to 6": """`ai.generateText` and the like are agents, their `.doGenerate` and `.doStream` are the LLM
calls; usage stands on both. An empty answer is left out as a withheld one is: it is taken for empty only where inputs
were recorded and the model stopped by itself within one token. A stream that is cut sends no span. Errors have no code:
words decide. Each try is a span of its own. Session and user have the names that the app gives them in `metadata`:
those read are listed below.""",
    "Vercel AI 7": """OTel GenAI under the scope `gen_ai`: wrapper, `step N`, chat. Session and user only where the
runtime context is exported (`runtimeContext: true`).""",
    "Strands": """`gen_ai.system` is "strands-agents", which provides no model. Time to the first token is in
milliseconds. A tool's status counts also where its span is OK. Usage stands on the agent too.""",
    "Spring AI": """1.0, 1.1 and 2.0 under Spring Boot, whose HTTP observations are read with it. Content of tools is
opt-in. That of models goes to the application's log, and joins its span where that is exported (`log-prompt`,
`log-completion`, an appender of OpenTelemetry), or stands on it where the app adds `gen_ai.prompt` and
`gen_ai.completion` by an ObservationFilter. It has no roles; calls that an answer makes, and refusals, are left out. A
tool that throws ends well, with the exception's text as its result. What a vector store found is not sent. A call id
and `stream` come with 2.0. Of a loop of calls 1.0 and 1.1 sum the tokens up from one to the next: the last counts. A
stream has tokens only where `stream-usage` asks for them.""",
    "Mastra": """A generation covers the whole loop of an agent with its tools; its steps, which hold what each call to
the model answered, are chains. Session and user are those that the app puts into the metadata of its tracing, else the
thread of its memory. A failed call marks the agent, not the generation.""",
    "Genkit": """Each action's input and output are one JSON. `generate` is the loop around the calls of a model, a
chain. A model is named with its plugin, which provides it. Errors have the HTTP code as their type.""",
    "VoltAgent": """Spans of its own. The agent has the answer and the tokens of all steps; the span of the model covers
its loop and has neither the answer nor the calls that it asked for. Tools are offered by name alone.""",
    "Google ADK": """`{}` stands where content is not captured, so it says nothing. "(merged tools)" is no tool.
Versions before 2, and that for Java, keep requests and responses in `gcp.vertex.agent.*`.""",
    "MS Agent Framework": """Content needs `enable_sensitive_data`. Every provider's error is a `ChatClientException`:
its text decides. Usage stands on the agent too. A session only where the service keeps the thread.""",
    "Claude Code": """Traces are a beta. Input tokens leave out cached ones: they are added, here alone. Content is
`<REDACTED>` unless the user opts in. Cost and a turn's answer come with log events. A tool's failure is marked on the
step that ran it.""",
    "Codex CLI": """Its traces hold neither answers nor tool results: those are log events, without the id of a span.
Failures stand in span events, not in a status. `thread.id` is a session
only where it is a UUID, `gen_ai.conversation.id` on a turn is the turn's. Span names are not stable.""",
    "Gemini CLI": """Operations of its own; texts are cut at 10,000 characters, and are "truncated" then. Errors and
retries are log events.""",
}


def cell(dialect: str, field: str) -> str:
    """Return the mark of a cell. Raises KeyError where nothing is known of it, ValueError where two things are."""
    marks = ["yes"] if field in found(dialect) else []
    for mark, told in (("–", NOT_SENT), ("logs", IN_LOGS), ("no", NOT_SUPPORTED), ("?", UNKNOWN)):
        if field in told.get(dialect, "").split(", "):
            marks.append(mark)
    if not marks:
        raise KeyError(f"nothing is said of {field} in {dialect}")
    if len(marks) > 1:
        raise ValueError(f"{field} in {dialect} is {' and '.join(marks)}")
    return marks[0]


def keys() -> str:
    """Return what each dialect's keys say, in the order in which they are believed."""
    lines: list[str] = []
    for dialect in DIALECTS:
        said: dict[str, list[str]] = {}
        for field, _, names in (*dialect.rows, *dialect.own_rows):
            said.setdefault(field.name.lower().replace("_", " "), []).extend(f"`{name}`" for name in names)
        lines += [f"### {dialect.name}", ""]
        facts = [("scopes", dialect.scopes), ("marks", dialect.marks + dialect.meant_marks)]
        lines += [f"- {word}: {', '.join(f'`{name}`' for name in names)}" for word, names in facts if names]
        if dialect.own_rows:
            own = sorted({name for _, _, names in dialect.own_rows for name in names})
            lines.append(f"- believed on its own spans alone: {', '.join(f'`{name}`' for name in own)}")
        if dialect.prefixes:
            lines.append(f"- flattened keys begin with: {', '.join(f'`{name}`' for name in dialect.prefixes)}")
        lines += [f"- {field}: {', '.join(names)}" for field, names in said.items()]
        lines.append("")
    return "\n".join(lines)


_HEAD: Final = """# Dialects

What Clearwatch reads out of the telemetry of each framework. Generated by
`python -m tests.unit.dialect_table docs/dialects.md`: "yes" is what is found in hand-made spans with every key that the
client writes, and a test keeps the page in step.

- yes: found. –: the client does not send it. logs: it sends it in log records, which join their span.
- no: it is sent and not read. ?: no export has been seen that would tell.

`session.id` and `user.id` that an app sets on a span are read in every dialect, and so are error facts: exception
event, `error.type`, status text, HTTP and gRPC codes. Where a client sends no cost, it is worked out by litellm's price
table. A retry inside a client is seen by none but an HTTP instrumentation beside it (`http.request.resend_count`).
Tokens are counted once, at the deepest span that carries them. Anything else is read as plain spans: HTTP, RPC,
databases, tools by `gen_ai.tool.name`.
"""


def page() -> str:
    """Return docs/dialects.md."""
    header = ["| | " + " | ".join(FIELDS) + " |", "|---" * (len(FIELDS) + 1) + "|"]
    table = [f"| {dialect} | " + " | ".join(cell(dialect, field) for field in FIELDS) + " |" for dialect in EXAMPLES]
    notes = [line for dialect, note in NOTES.items() for line in (f"- **{dialect}**: " + " ".join(note.split()),)]
    keyed = ["## Keys", "", "In the order in which they are believed; a dialect that stands earlier wins.", "", keys()]
    return "\n".join([_HEAD, *header, *table, "", "## Notes", "", *notes, "", *keyed]).rstrip() + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
