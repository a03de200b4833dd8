"""The demo's agent makes what it says, through the real SDK."""

from collections import Counter

from tests.e2e import traffic


def test_every_fault_comes_and_warm_up_is_passed() -> None:
    spans = traffic.spans(turns=200)
    names = Counter(span.name for span in spans)
    assert names["retrieval travel-guides"] > 60
    errors = Counter(
        span.attributes["error.type"] for span in spans if span.attributes and "error.type" in span.attributes
    )
    assert errors["openai.RateLimitError"] >= 3
    assert errors["ToolError"] >= 3
    finishes = Counter(
        reason
        for span in spans
        for reason in (span.attributes or {}).get("gen_ai.response.finish_reasons", ())  # type: ignore[union-attr]
    )
    assert finishes["length"] >= 3
    assert finishes["content_filter"] >= 3


def test_children_end_before_their_root_and_inside_it() -> None:
    roots = {}
    for span in reversed(traffic.spans(turns=40)):
        if span.parent is None:
            roots[span.context.trace_id] = span
        else:
            root = roots[span.context.trace_id]
            times = (root.start_time, span.start_time, span.end_time, root.end_time)
            assert list(times) == sorted(time or 0 for time in times)


def test_sessions_have_several_turns() -> None:
    sessions = Counter(
        (span.attributes or {}).get("session.id") for span in traffic.spans(turns=200) if not span.parent
    )
    assert sum(1 for session, turns in sessions.items() if session and turns > 1) >= 2
