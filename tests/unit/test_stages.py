"""The detector's stages follow its configuration."""

from core.model.finding import Dimension
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from detector.config import DetectorConfig
from detector.stages import stages


def test_all_stages_run_unless_told_otherwise() -> None:
    assert list(stages(DetectorConfig(), Telemetry())) == ["assemble", "sessions", "baselines", "issues"]


def test_without_a_dimension_that_they_speak_of_there_are_no_baselines() -> None:
    config = DetectorConfig(dimensions=(Dimension.SAFETY,))
    assert "baselines" not in stages(config, Telemetry())


def test_checks_of_other_dimensions_do_not_run() -> None:
    every = Checks(ChecksConfig(), Telemetry())
    safety = Checks(ChecksConfig(), Telemetry(), dimensions=(Dimension.SAFETY,))
    assert "content_filter" in safety.names
    assert set(safety.names) < set(every.names)
    assert "failed_span" not in safety.names
