"""Differential: MLflow's own translators read the same spans; kind, model and usage agree wherever MLflow says them."""

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from core.dialects import decode
from core.model.span import Span, SpanKind
from core.otlp.wire import read_spans
from tests.unit.dialect_examples import EXAMPLES, Example
from tests.unit.test_dialects_corpora import requests

_DATA = os.environ.get("CLEARWATCH_EVAL_DATA", "")
pytestmark = pytest.mark.integration
_SAMPLES = (
    sorted(p.name.split(".")[0] for p in Path(_DATA).glob("dialects/*.otlp.jsonl.gz") if ".logs." not in p.name)
    if _DATA
    else []
)

_KINDS: Final = {
    "LLM": SpanKind.LLM,
    "CHAT_MODEL": SpanKind.LLM,
    "AGENT": SpanKind.AGENT,
    "TOOL": SpanKind.TOOL,
    "CHAIN": SpanKind.CHAIN,
    "WORKFLOW": SpanKind.CHAIN,
    "TASK": SpanKind.CHAIN,
    "RETRIEVER": SpanKind.RETRIEVER,
    "EMBEDDING": SpanKind.EMBEDDING,
    "RERANKER": SpanKind.RERANKER,
    "GUARDRAIL": SpanKind.GUARDRAIL,
    "EVALUATOR": SpanKind.EVALUATOR,
}
# where we differ on purpose: (sample, MLflow's kind, ours)
_DIFFERENT: Final = {
    # the request type says "embedding", which MLflow does not look at
    ("traceloop_openai_v0_40", "LLM", SpanKind.EMBEDDING),
    ("litellm_otel", "LLM", SpanKind.EMBEDDING),
    # generateText and streamText wrap the calls that do the work
    ("vercel_ai", "LLM", SpanKind.AGENT),
    ("vercel_ai", "EMBEDDING", SpanKind.AGENT),
    ("vercel_ai", "LLM", SpanKind.EMBEDDING),
    # "(merged tools)" holds the spans of tools that ran side by side
    ("google_adk", "TOOL", SpanKind.CHAIN),
}


# hand-made spans: (dialect, name of the span, fact) -> why what MLflow says is not what is so
_REASONS: Final = {
    ("OTel GenAI, 1.37 and later", "work", "kind"): "it does not know the operation `retrieval`",
    ("OpenLLMetry", "vector_db_retrieve R", "kind"): "it takes the task; the operation is a retriever's",
    ("OpenLLMetry before 0.5", "openai.chat", "usage"): "it does not read cache_read_input_tokens",
    ("LangSmith", "ChatOpenAI", "usage"): "cached tokens stand in input_token_details, a Python repr",
    ("Pydantic AI", "chat gpt-4o-mini", "usage"): "cached tokens stand in usage.details",
    ("Strands", "chat", "usage"): "it does not read cache_read_input_tokens",
    ("Strands", "work", "usage"): "it does not read cache_read_input_tokens",
    ("Google ADK", "call_llm", "kind"): "an old call names no operation; its span does",
    ("Langfuse", "answer", "model"): "it does not read langfuse.observation.model.name",
    ("Langfuse", "answer", "usage"): "it does not read langfuse.observation.usage_details",
    ("LangSmith", "work", "kind"): "a retriever's operation is `embeddings`; the run type says what it is",
    ("Logfire", "Chat Completion with 'gpt-4o-mini'", "usage"): "tokens stand in response_data",
    ("Pydantic AI", "travel run", "kind"): "an agent of the older form names no operation",
    ("Vercel AI 3 to 6", "ai.streamText.doStream", "usage"): "cached tokens stand under ai.usage",
    ("Vercel AI 3 to 6", "ai.generateObject", "kind"): "it holds the call, and its usage again, in a child",
    ("Vercel AI 7", "step 1", "kind"): "a step holds the calls of one round",
    ("CrewAI", "query knowledge", "kind"): "what it does is said by crewai.event_name",
    ("CrewAI", "call llm", "kind"): "without an operation it is a step",
    ("AG2", "chat gpt-4o-mini", "kind"): "a failed call is told by ag2.span.type alone",
    ("AG2", "chat gpt-4o-mini", "usage"): "it does not read cache_read_input_tokens",
    ("AgentOps", "find.tool", "kind"): "its kinds stand under agentops.span.kind",
    ("AgentOps", "travel.agent", "kind"): "its kinds stand under agentops.span.kind",
    ("AgentOps", "trip.task", "kind"): "its kinds stand under agentops.span.kind",
    ("Laminar", "openai.chat", "usage"): "it does not read cache_read_input_tokens",
    ("VoltAgent", "llm:generateText", "model"): "VoltAgent's keys have no prefix",
    ("VoltAgent", "llm:generateText", "usage"): "VoltAgent's keys have no prefix",
    ("VoltAgent", "Traveller", "model"): "VoltAgent's keys have no prefix",
    ("VoltAgent", "Traveller", "usage"): "VoltAgent's keys have no prefix",
    ("Spring AI", "spring_ai chat_client", "kind"): "a client's operation is `framework`; its kind says what it is",
    ("Spring AI", "execute_tool get_weather", "kind"): "its kinds stand under spring.ai.kind",
    ("Spring AI", "simple query", "kind"): "its kinds stand under spring.ai.kind",
    ("OpenAI Agents (Logfire)", "OpenAI Agents trace", "kind"): "the span's template says what it is",
    ("OpenAI Agents (Logfire)", "Agent run: {name!r}", "kind"): "the span's template says what it is",
    ("OpenAI Agents (Logfire)", "Function: {name}", "kind"): "the span's template says what it is",
    ("OpenAI Agents (Logfire)", "Responses API", "kind"): "the span's template says what it is",
    (
        "OpenAI Agents (Logfire)",
        "Responses API with {gen_ai.request.model!r}",
        "usage",
    ): "Logfire keeps it under `usage`",
}
# dialects that MLflow knows nothing of: all that is read in them is a difference
_UNKNOWN_TO_MLFLOW: Final = frozenset({"Codex CLI", "Genkit", "Haystack", "LlamaIndex"})


def _translated(sample: str) -> Iterator[tuple[Span, dict[str, Any]]]:
    """Yield each span of a sample as we read it, with the attributes that MLflow makes of it."""
    for data in requests(f"dialects/{sample}.otlp.jsonl.gz"):
        yield from _pairs(data)


def _pairs(data: bytes) -> Iterator[tuple[Span, dict[str, Any]]]:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # else the first cost is looked up over the net
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        from mlflow.entities.span import Span as MlflowSpan
        from mlflow.tracing.otel.translation import translate_span_when_storing

        ours = {span.span_id: span for span in map(decode, read_spans(data)[0])}
        for resource in TracesData.FromString(data).resource_spans:
            for proto in (span for scope in resource.scope_spans for span in scope.spans):
                found = translate_span_when_storing(MlflowSpan.from_otel_proto(proto))["attributes"]
                yield ours[proto.span_id.hex()], {key: _loaded(value) for key, value in found.items()}


def _loaded(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


@pytest.mark.skipif(not _DATA, reason="CLEARWATCH_EVAL_DATA is not set")
@pytest.mark.parametrize("sample", _SAMPLES)
def test_kind_model_and_usage_agree_with_mlflow(sample: str) -> None:
    compared = 0
    for span, theirs in _translated(sample):
        where = f"{span.name} {span.span_id}"
        kind = _KINDS.get(str(theirs.get("mlflow.spanType")))
        if kind is not None:
            compared += 1
            known = kind is span.kind or (sample, theirs["mlflow.spanType"], span.kind) in _DIFFERENT
            assert known, f"{where}: {theirs['mlflow.spanType']} is {span.kind}"
        model = theirs.get("mlflow.llm.model")
        # ours is the model that was asked for, theirs the one that answered: a dated version of it
        assert not model or (span.model and str(model).startswith(span.model)), f"{where}: {model} is {span.model!r}"
        usage = _loaded(theirs.get("mlflow.chat.tokenUsage"))
        if usage:
            assert span.usage is not None, where
            assert span.usage.input_tokens == (usage.get("input_tokens") or 0), where
            assert span.usage.output_tokens == (usage.get("output_tokens") or 0), where
    assert compared


def _differences(dialect: str, example: Example) -> Iterator[tuple[str, str, str]]:
    """Yield (dialect, span, fact) where MLflow says less of a span than we do, or something else."""
    ((span, theirs),) = _pairs(example.encoded())
    # what it does not know it calls so
    kind = _KINDS.get(str(theirs.get("mlflow.spanType")))
    known = span.kind in _KINDS.values()
    if known and kind is not span.kind:
        yield dialect, example.name, "kind"
    model = theirs.get("mlflow.llm.model")
    if (model or span.model) and not str(model or "").startswith(span.model or "?"):
        yield dialect, example.name, "model"
    usage = _loaded(theirs.get("mlflow.chat.tokenUsage")) or {}
    ours = span.usage
    if (usage or ours) and (
        ours is None
        or ours.input_tokens != (usage.get("input_tokens") or 0)
        or ours.output_tokens != (usage.get("output_tokens") or 0)
        or ours.cached_tokens != (usage.get("cache_read_input_tokens") or 0)
    ):
        yield dialect, example.name, "usage"


@pytest.mark.parametrize("dialect", EXAMPLES)
def test_where_mlflow_differs_on_hand_made_spans_there_is_a_reason(dialect: str) -> None:
    found = {difference for example in EXAMPLES[dialect] for difference in _differences(dialect, example)}
    if dialect in _UNKNOWN_TO_MLFLOW:
        assert found, "MLflow has learned it"
    else:
        assert found == {reason for reason in _REASONS if reason[0] == dialect}
