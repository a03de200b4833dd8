"""The filter of chatty loggers."""

import logging

import pytest

from core.log.kafka.calm import Calm


def test_the_same_complaint_is_heard_once_with_a_count_and_another_one_at_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    logger = logging.getLogger("chatty.client")
    logger.addFilter(Calm(every_s=10.0))
    for _ in range(3):
        for second in range(30):
            now[0] += 0.01
            logger.warning("no broker, try %d", second)
        now[0] += 10.0
    logger.warning("something else")
    assert [record.getMessage() for record in caplog.records] == [
        "no broker, try 0",
        "no broker, try 0 (and 29 more like it)",
        "no broker, try 0 (and 29 more like it)",
        "something else",
    ]
