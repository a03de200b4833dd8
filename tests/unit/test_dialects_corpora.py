"""Every corpus decodes; the two TRAIL corpora, the same traces in two dialects, give the same facts span by span."""

import base64
import functools
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from core.dialects import decode
from core.model.span import ContentState, Span, SpanKind
from core.otlp.build import build_traces_data
from core.otlp.wire import read_log_records, read_spans

_DATA = os.environ.get("CLEARWATCH_EVAL_DATA", "")
pytestmark = pytest.mark.skipif(not _DATA, reason="CLEARWATCH_EVAL_DATA is not set")
_FILES = sorted(str(p.relative_to(_DATA)) for p in Path(_DATA).rglob("*otlp.jsonl.gz")) if _DATA else []
_IDS = ("traceId", "spanId", "parentSpanId")


def requests(name: str) -> Iterator[bytes]:
    """Yield each request of a corpus as protobuf; OTLP/JSON writes ids in hex, protobuf's JSON in base64."""
    shape = LogsData if ".logs." in name else TracesData
    with gzip.open(Path(_DATA) / name, "rt") as lines:
        for line in lines:
            parsed = json_format.ParseDict(_with_base64_ids(json.loads(line)), shape(), ignore_unknown_fields=True)
            yield parsed.SerializeToString()


def _with_base64_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_base64_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(item)).decode()
        if key in _IDS and isinstance(item, str)
        else _with_base64_ids(item)
        for key, item in value.items()
    }


@functools.cache
def spans(name: str) -> tuple[Span, ...]:
    found: list[Span] = []
    for data in requests(name):
        slices, failures = read_spans(data)
        assert not failures
        found += map(decode, slices)
        chunks = build_traces_data(slices, session_id="s", user_id="u", max_bytes=200_000)
        assert sum(len(read_spans(chunk)[0]) for chunk in chunks) == len(slices)
    return tuple(found)


@pytest.mark.parametrize("name", [name for name in _FILES if ".logs." not in name])
def test_corpus_decodes_without_a_failure(name: str) -> None:
    assert spans(name)


@pytest.mark.parametrize("name", [name for name in _FILES if ".logs." in name])
def test_log_records_name_their_spans(name: str) -> None:
    for data in requests(name):
        records, failures = read_log_records(data)
        assert not failures
        assert all(len(r.trace_id) == 16 and len(r.span_id) == 8 for r in records)


def _trail() -> tuple[dict[tuple[str, str], Span], dict[tuple[str, str], Span]]:
    names = ("trail-openinference.dev.otlp.jsonl.gz", "trail-genai.dev.otlp.jsonl.gz")
    openinference, genai = ({(s.trace_id, s.span_id): s for s in spans(name)} for name in names)
    return openinference, genai


def test_failed_spans_of_trail_agree_in_both_dialects() -> None:
    openinference, genai = _trail()
    assert openinference.keys() == genai.keys()
    failed = [key for key, span in openinference.items() if span.error is not None]
    assert len(failed) == 181
    assert {key for key, span in genai.items() if span.error is not None} == set(failed)
    for key in failed:
        one, other = openinference[key], genai[key]
        assert (one.target, one.kind, one.error) == (other.target, other.kind, other.error)


def test_kinds_models_tools_usage_and_answers_of_trail_agree_in_both_dialects() -> None:
    openinference, genai = _trail()
    for key, one in openinference.items():
        other = genai[key]
        assert (one.target, one.kind, one.usage, one.tool) == (other.target, other.kind, other.usage, other.tool)
        # the one failed call has no answer: an empty list in one dialect, nothing in the other
        if one.kind is SpanKind.LLM and one.error is None:
            assert one.output == other.output
            assert one.output.state is ContentState.PRESENT


@pytest.mark.parametrize(
    "name", ["openinference_openai", "genai_openai", "openai_v2", "openinference_openai_nocontent"]
)
def test_clients_of_one_app_agree_on_why_calls_failed(name: str) -> None:
    """The same faults were injected into the same app behind each of these instrumentations."""
    leaves = [s for s in spans(f"dialects/{name}.otlp.jsonl.gz") if s.error is not None and s.kind is SpanKind.LLM]
    classes = {s.error.error_class.value for s in leaves if s.error is not None}
    assert classes == {
        "auth", "connection", "context_overflow", "parse", "quota", "rate_limit", "server_error", "timeout",
    }  # fmt: skip
