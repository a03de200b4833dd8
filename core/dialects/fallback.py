"""The honest fallback: HTTP, RPC and database conventions, tools, numbered steps. What it cannot tell stays unknown."""

import re

from core.dialects import haystack
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import always, kinds, name, text
from core.model.span import SpanKind

# agent loops of several frameworks (smolagents, Vercel AI 7) name their turns so and say no kind
_STEP = re.compile(r"step \d+", re.IGNORECASE)
# Haystack's steps bear no attribute that marks them without content; Semantic Kernel's loop around the calls of a model
# and of its functions never does
_NAMED = {**haystack.STEPS, "AutoFunctionInvocationLoop": SpanKind.CHAIN}
# AutoGen: what its runtime does with a message
_RUNTIME = re.compile(r"autogen (?:create|send|publish|receive|intercept|process|ack) ")
# the convention's name of a model call, whose attributes some clients write at its end alone, so never of one that
# failed (OpenLIT); a model's name has a digit in it
_CALL = re.compile(r"(chat|text_completion|generate_content|embeddings) ([\w./:@\-]*\d[\w./:@\-]*)")


def read(reading: Reading) -> None:
    """Call a tool what names its tool (MCP servers say no operation); know steps of frameworks, and the convention's
    calls, by their names."""
    if reading.found[Field.TOOL_NAME] is not None:
        reading.kind = SpanKind.TOOL
    elif _STEP.fullmatch(reading.name):
        reading.kind = SpanKind.CHAIN
    elif (call := _CALL.fullmatch(reading.name)) is not None:
        reading.kind = SpanKind.EMBEDDING if call[1] == "embeddings" else SpanKind.LLM
        reading.found[Field.MODEL] = reading.found[Field.MODEL] or call[2]
    elif reading.name in _NAMED:
        reading.kind = _NAMED[reading.name]
    elif reading.name.startswith("autogen ") and _RUNTIME.match(reading.name) is not None:
        reading.kind = SpanKind.CHAIN


DIALECT = Dialect(
    name="unknown",
    rows=(
        (
            Field.KIND,
            kinds({"chat": SpanKind.LLM, "completion": SpanKind.LLM, "embedding": SpanKind.EMBEDDING}),
            ("llm.request.type",),
        ),
        (Field.KIND, always(SpanKind.DB), ("db.system.name", "db.system")),
        # the narrowest that is named; names of semantic-conventions 1.26 and later, then of those before
        (
            Field.DATA_SOURCE,
            name,
            (
                "db.collection.name",
                "db.sql.table",
                "db.mongodb.collection",
                "db.cassandra.table",
                "db.namespace",
                "db.name",
            ),
        ),
        (Field.KIND, always(SpanKind.RPC), ("rpc.system", "rpc.system.name")),
        (Field.KIND, always(SpanKind.HTTP), ("http.request.method", "http.method")),
        # OpenInference of CrewAI and of OpenAI's agents: the node of the graph is the agent
        (Field.AGENT, name, ("graph.node.id",)),
        # Strands: names of tools without their schemas, read where definitions were not sent
        (Field.TOOL_DEFINITIONS, text, ("gen_ai.agent.tools",)),
    ),
)
