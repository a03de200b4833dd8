"""Whose time it was."""

from core.model.span import Span, SpanKind
from core.model.trace import Trace
from detector.assemble.own_time import given_times_ns


def span(name: str, start_ns: int, end_ns: int, parent: str = "", **fields: object) -> Span:
    made = Span(trace_id="t", span_id=name, parent_span_id=parent, name=name, start_ns=start_ns, end_ns=end_ns)
    return Span(**{field: getattr(made, field) for field in Span.__struct_fields__} | fields)


def own(*spans: Span) -> dict[str, int]:
    given = given_times_ns(Trace(trace_id="t", spans=spans, version="v"))
    return {each.span_id: each.end_ns - each.start_ns - given.get(each.span_id, 0) for each in spans}


def test_a_parent_does_not_own_its_childrens_time_however_they_overlap() -> None:
    assert own(
        span("a", 0, 100, kind=SpanKind.TOOL), span("b", 10, 50, "a"), span("c", 30, 70, "a"), span("d", 80, 90, "a")
    ) == {"a": 30, "b": 40, "c": 40, "d": 10}


def test_code_that_has_its_children_overlap_is_given_the_time_of_each() -> None:
    assert own(span("a", 0, 100), span("b", 10, 50, "a"), span("c", 30, 70, "a"))["a"] == 20
    assert own(span("a", 0, 100), span("b", 0, 90, "a"), span("c", 10, 80, "a"))["a"] == 0


def test_a_caller_is_not_blamed_where_only_a_call_and_all_above_it_were_recorded_as_longer() -> None:
    def caller(slower: int) -> dict[str, int]:
        return own(
            span("root", 0, 100 + slower),
            span("first", 10, 30 + slower, "root"),
            span("second", 30, 60, "root"),
            span("third", 60, 90, "root"),
        )

    assert caller(0)["root"] == caller(200)["root"] == 20
    assert caller(200)["first"] == 220


def test_only_what_lies_in_the_parent_is_taken_from_it() -> None:
    assert own(span("a", 10, 100), span("b", 0, 20, "a"), span("c", 90, 500, "a")) == {"a": 70, "b": 20, "c": 410}


def test_code_beside_the_call_that_it_waits_for_does_not_own_the_wait() -> None:
    found = own(
        span("root", 0, 100),
        span("handler", 1, 99, "root"),
        span("call", 2, 98, "root"),
        span("callee", 5, 90, "call"),
    )
    assert found == {"root": 2, "handler": 2, "call": 11, "callee": 85}


def test_parallel_calls_of_tools_own_their_time() -> None:
    found = own(
        span("root", 0, 100, kind=SpanKind.AGENT),
        span("slow", 1, 99, "root", kind=SpanKind.TOOL),
        span("other", 2, 50, "root", kind=SpanKind.TOOL),
        span("inner", 3, 40, "other"),
    )
    assert found["slow"] == 98


def test_orphans_and_spans_that_are_their_own_parent_own_all_of_their_time() -> None:
    assert own(span("a", 0, 10, "gone"), span("b", 0, 10, "b")) == {"a": 10, "b": 10}
