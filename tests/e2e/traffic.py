"""The demo's traffic as OTLP requests: made by the real SDK, encoded by its own exporter code, not sent anywhere."""

import random
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, set_span_in_context

from clearwatch.demo.agent import AGENT, TravelAgent, script


def spans(*, turns: int, seed: int = 7, extra_ratio: float = 0.0) -> Sequence[ReadableSpan]:
    """Return the finished spans of a demo of so many turns, in the order in which they ended.

    Each trace has `extra_ratio` more on the average, small ones in which nothing happens.
    """
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": AGENT, "service.version": "1.4.0"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for play in script(TravelAgent(provider, seed=seed), run_id="test", turns=turns):
        play()
    finished = exporter.get_finished_spans()
    exporter.clear()
    rng = random.Random(seed)
    tracer = provider.get_tracer("travel.assistant", "1.4.0")
    found: list[ReadableSpan] = []
    for span in finished:
        context = span.get_span_context()
        if context is None or span.parent is not None:
            found.append(span)
            continue
        count = int(extra_ratio) + (rng.random() < extra_ratio % 1)
        for number in range(count):
            parent = set_span_in_context(NonRecordingSpan(context))
            tracer.start_span(f"step {number}", parent, start_time=span.start_time).end(span.end_time)
        found += exporter.get_finished_spans()
        exporter.clear()
        found.append(span)
    provider.shutdown()
    return found


def batches(
    finished: Sequence[ReadableSpan], *, size: int, late_ratio: float, duplicate_ratio: float, seed: int
) -> tuple[list[bytes], list[bytes]]:
    """Return (requests in order of end, requests with the late spans), with some spans sent twice.

    Roots are never late: a trace is then closed before its late span comes.
    """
    rng = random.Random(seed)
    prompt: list[ReadableSpan] = []
    late: list[ReadableSpan] = []
    for span in finished:
        (late if span.parent is not None and rng.random() < late_ratio else prompt).append(span)
        if rng.random() < duplicate_ratio:
            prompt.append(span)
    return _requests(prompt, size), _requests(late, size)


def _requests(spans_: Sequence[ReadableSpan], size: int) -> list[bytes]:
    found = []
    for at in range(0, len(spans_), size):
        request: ExportTraceServiceRequest = encode_spans(spans_[at : at + size])
        found.append(request.SerializeToString())
    return found
