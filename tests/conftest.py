"""Fixtures that every test may use, and what a skip means where all tools must be there."""

import asyncio
import os
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping

import pytest
import uvloop
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.broker.jars import BrokerMissingError
from tests.broker.kafka import Broker, some_broker
from tests.integration.mlflow_kit import Api
from tests.integration.mlflow_server import RunningMlflow, mlflow_server
from tests.integration.postgres_server import own_postgres, postgres, postgres_url

__all__ = ["mlflow_server", "own_postgres", "postgres", "postgres_url"]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run async tests in the event loop of production: clients' libraries have been seen to fail in it alone."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def api(mlflow_server: RunningMlflow) -> Iterator[Api]:
    """Return MLflow's own view, asked without our client."""
    asked = Api(mlflow_server.url)
    yield asked
    asked.close()


@pytest.fixture
def service() -> str:
    """Return a service name, and so an experiment, of the test's own."""
    return f"svc-{uuid.uuid4().hex[:8]}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs_postgres)])
def records_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database for the records, of each kind that is supported."""
    return "sqlite://" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


TOOL_MARKERS = ("needs_node", "needs_chromium", "needs_kafka", "needs_postgres")


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Give one broker for all tests, which keep apart by topic prefix; skip where there is none to be had."""
    try:
        with some_broker(tmp_path_factory.mktemp("kafka")) as broker:
            yield broker
    except BrokerMissingError as exc:
        pytest.skip(f"NO KAFKA: {exc}")


# what takes minutes comes first: the workers then end at about the same time
ORDER = ("e2e", "integration", "eval", "contracts", "properties", "js", "unit", "bench")
CLUSTER = "tests/e2e/test_cluster"


class OfFiles(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps files together for workers side by side, and clusters in one: two of them at a time would be too many.

    xdist's own marks for that, `xdist_group`, have no effect with pytest 9.2, whose node ids xdist 3.8 cannot change.
    """

    def _split_scope(self, nodeid: str) -> str:
        return CLUSTER if nodeid.startswith(CLUSTER) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Return how tests are given to workers: file by file, in the order below and not the longest file first."""
    config.option.loadscopereorder = False
    return OfFiles(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order tests for workers side by side."""
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[bool, int]:
    folder = item.nodeid.split("/")[1]
    return not item.nodeid.startswith(CLUSTER), ORDER.index(folder) if folder in ORDER else len(ORDER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a test whose tool is missing into a failure where CLEARWATCH_REQUIRE_TOOLS is set."""
    report = yield
    is_required = os.environ.get("CLEARWATCH_REQUIRE_TOOLS") and any(map(item.get_closest_marker, TOOL_MARKERS))
    if report.skipped and is_required:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and CLEARWATCH_REQUIRE_TOOLS is set: {report.longrepr}"
    return report
