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
from tests.unit.test_dialects_corpora import requests

_DATA = os.environ.get("CLEARWATCH_EVAL_DATA", "")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not _DATA, reason="CLEARWATCH_EVAL_DATA is not set"),
]
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


def _translated(sample: str) -> Iterator[tuple[Span, dict[str, Any]]]:
    """Yield each span as we read it, with the attributes that MLflow makes of it."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # else the first cost is looked up over the net
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        from mlflow.entities.span import Span as MlflowSpan
        from mlflow.tracing.otel.translation import translate_span_when_storing

        for data in requests(f"dialects/{sample}.otlp.jsonl.gz"):
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
