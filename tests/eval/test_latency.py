"""Latency over recorded traces with added delay; skipped where CLEARWATCH_EVAL_DATA names no folder of corpora."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.model.trace import Trace
from tests.eval.delays import Delay, delayed, stretches_of, windows_of
from tests.eval.latency import outcome_of
from tests.eval.offline import read_corpus

DATA = Path(os.environ.get("CLEARWATCH_EVAL_DATA", ""))
pytestmark = pytest.mark.skipif(
    not os.environ.get("CLEARWATCH_EVAL_DATA"), reason="CLEARWATCH_EVAL_DATA does not name a folder of corpora"
)


@functools.cache
def traces() -> Sequence[Trace]:
    found = read_corpus(DATA / "nezha-ts.dev.otlp.jsonl.gz").values()
    return sorted(found, key=lambda trace: trace.started_ns)


@pytest.mark.parametrize("delay", [Delay(ms=200), Delay(ms=200, by_operation=True)])
def test_delayed_traces_are_found_with_few_false_alarms(delay: Delay) -> None:
    outcomes = [outcome_of(traces(), windows_of(traces(), seed=seed, count=6, delay=delay)) for seed in (8, 9, 10, 11)]
    hit, flagged = sum(o.hit for o in outcomes), sum(o.flagged for o in outcomes)
    assert hit / flagged >= 0.9
    assert hit / sum(o.positive for o in outcomes) >= 0.75


@pytest.mark.parametrize("delay", [Delay(ms=200, spread=0.9), Delay(ms=200, is_moved=False)])
def test_stretches_in_which_one_service_is_slow_are_an_episode_of_one_issue(delay: Delay) -> None:
    outcomes = [
        outcome_of(traces(), stretches_of(traces(), seed=seed, delay=delay, one_service=True)) for seed in (20, 21)
    ]
    hit, flagged = sum(o.hit for o in outcomes), sum(o.flagged for o in outcomes)
    assert hit / flagged >= 0.9
    assert hit / sum(o.positive for o in outcomes) >= 0.75
    # what was slow before the window, in the recording, began some
    assert sum(o.one for o in outcomes) >= 0.7 * sum(o.windows for o in outcomes)


def test_without_added_delay_hardly_a_trace_is_flagged() -> None:
    assert outcome_of(traces(), ()).flagged <= len(traces()) // 100


def test_delayed_traces_stay_consistent() -> None:
    windows = windows_of(traces(), seed=1, count=6, delay=Delay(ms=200))
    for trace in traces():
        later, spans = delayed(trace, windows)
        for span in later.spans:
            before = trace.by_id[span.span_id]
            assert span.end_ns - span.start_ns >= before.end_ns - before.start_ns
            parent, recorded = later.by_id.get(span.parent_span_id), trace.by_id.get(span.parent_span_id)
            if parent is not None and recorded is not None and before.end_ns <= recorded.end_ns:
                assert span.end_ns <= parent.end_ns
        if not spans:
            assert later is trace
