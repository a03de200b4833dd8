"""Spring AI: Micrometer's observations, bridged to OpenTelemetry, and Spring's observations of HTTP beside them.

All attributes are text, lists too: `["STOP"]`. A model call bears OTel GenAI's keys; the ChatClient around it, its
advisors, tools and vector stores say what they are in `spring.ai.kind`. Content of tools is sent with
`spring.ai.tools.observations.include-content`; that of models goes to the application's log, and joins its span where
that is exported, or stands on it where the app adds `gen_ai.prompt` and `gen_ai.completion` by an ObservationFilter:
texts between `["`, `", "` and `"]`, nothing escaped, without roles; a text that is null, or a refusal, is left out. A
streamed call whose usage was not asked for says 0. A tool that throws ends well, and its result is the exception's
message; what a vector store found is not sent. Spring Boot names the tracer; elsewhere only keys tell the dialect, and
a call that was offered no tools is read as OTel GenAI.

Names: Spring AI 1.0.3, 1.1.0 and 2.0.0 with Spring Boot 3.5.7 and 4.1.0.
"""

from typing import Final

from core.dialects import otel_genai
from core.dialects.answers import Answer
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import always, as_json, code, kinds, name, text
from core.model.span import Content, ContentState, FinishReason, SpanKind
from core.otlp.slim import Value

KINDS: Final = {
    # the loop around the calls of a model and of its tools
    "chat_client": SpanKind.AGENT,
    "advisor": SpanKind.CHAIN,
    "tool_call": SpanKind.TOOL,
    "vector_store": SpanKind.DB,
}
# what stands where nothing was said
_NO_TEXTS: Final = frozenset({"", "null"})
_LLM, _DB, _TOOL_CALLS = SpanKind.LLM, SpanKind.DB, FinishReason.TOOL_CALLS
_STARTS, _BETWEEN, _ENDS = '["', '", "', '"]'


def conversation(value: Value) -> str | None:
    """Return a session; `default` is that of a memory whose conversations nobody tells apart."""
    found = name(value)
    return None if found == "default" else found


def read(reading: Reading) -> None:
    """Take texts out of their brackets, and leave out usage that says nothing."""
    found = reading.found
    searched, found[Field.RAW] = found[Field.RAW] == "query", None
    if reading.kind is _DB and searched:
        reading.kind = SpanKind.RETRIEVER
    otel_genai.read(reading)
    if reading.kind is _LLM:
        _call(reading)


def _call(reading: Reading) -> None:
    found = reading.found
    given = found[Field.INPUT]
    if isinstance(given, str) and given.startswith(_STARTS):
        found[Field.INPUT] = _conversation(given)
    said = found[Field.OUTPUT]
    if isinstance(said, Answer) and said.content.text.startswith("["):
        found[Field.OUTPUT] = None
        reading.output = _answer(said.content.text, found[Field.FINISH])
    if not found[Field.INPUT_TOKENS] and not found[Field.OUTPUT_TOKENS]:
        if found[Field.INPUT_TOKENS] is not None and found[Field.FINISH] is None:
            # only a stream has an answer without either
            found[Field.IS_STREAM] = True
        found[Field.INPUT_TOKENS] = found[Field.OUTPUT_TOKENS] = None


def _conversation(given: str) -> str:
    """Return the messages as such: the last that says something is the user's, whose the others are is not sent."""
    texts = [said for said in given[len(_STARTS) :].removesuffix(_ENDS).split(_BETWEEN) if said not in _NO_TEXTS]
    last = len(texts) - 1
    return as_json([{"role": "user" if at == last else "system", "content": said} for at, said in enumerate(texts)])


def _answer(said: str, stopped: FinishReason | None) -> Content | None:
    """Return an answer's text; None where there was none to send: of a call that failed, or that asks for tools."""
    text = said[len(_STARTS) :].removesuffix(_ENDS) if said.startswith(_STARTS) else ""
    if not text and (stopped is None or stopped is _TOOL_CALLS):
        return None
    return Content(ContentState.PRESENT, text)


DIALECT = Dialect(
    name="spring_ai",
    marks=(
        "spring.ai.kind",
        "spring.ai.model.request.tool.names",
        "spring.ai.tool.definition.name",
        "spring.ai.chat.client.stream",
        "spring.ai.advisor.name",
    ),
    scopes=("org.springframework.boot",),
    rows=(
        (Field.KIND, kinds(KINDS), ("spring.ai.kind",)),
        (Field.TOOL_NAME, name, ("spring.ai.tool.definition.name",)),
        (Field.TOOL_CALL_ID, name, ("spring.ai.tool.call.id",)),
        (Field.TOOL_ARGUMENTS, text, ("spring.ai.tool.call.arguments",)),
        (Field.TOOL_RESULT, text, ("spring.ai.tool.call.result",)),
        (Field.TOOL_DEFINITIONS, text, ("spring.ai.model.request.tool.names",)),
        (Field.SESSION, conversation, ("spring.ai.chat.client.conversation.id",)),
        (Field.QUERY, name, ("db.vector.query.content",)),
    ),
    own_rows=(
        (Field.RAW, text, ("db.operation.name",)),
        # Spring's client and server; OkHttp, which the client of Spring AI 2 calls by
        (Field.KIND, always(SpanKind.HTTP), ("http.url", "target.scheme")),
        (Field.ERROR_CODE, code, ("status",)),
    ),
    read=read,
)
