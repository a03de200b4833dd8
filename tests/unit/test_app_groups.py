"""Consumer groups that nobody runs any more are forgotten at the start."""

from collections.abc import Sequence

import pytest

from clearwatch.app import forget_removed
from core import topics
from core.clock import ManualClock
from core.log.config import LogConfig
from core.log.port import Record
from core.log.sqlite import SqliteLog
from core.telemetry import Telemetry


class Silent:
    async def on_assigned(self, partitions: Sequence[int]) -> None: ...

    async def on_revoked(self, partitions: Sequence[int]) -> None: ...


async def test_a_stage_that_was_switched_off_is_forgotten_a_sink_keeps_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    log = SqliteLog(":memory:", config=LogConfig(partitions=1), telemetry=Telemetry(), clock=ManualClock())
    await log.start()
    await log.append([Record(topic=topics.TRACES, partition=0, value=b"t")])
    for group in ("assemble", "baselines", "mlflow", "mlflow-spans"):
        reader = log.reader(group, [topics.TRACES])
        await reader.start(Silent())
        await reader.stop()
    await forget_removed(log, keep={"assemble", "mlflow"})
    assert dict(await log.lag()) == {"assemble": 1, "mlflow": 1, "mlflow-spans": 1}
    assert "consumer group baselines is forgotten, 1 records unread" in caplog.text
    await log.stop()
