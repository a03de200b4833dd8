"""Fixtures that every test may use."""

import uuid
from collections.abc import Iterator

import pytest

from tests.integration.mlflow_kit import Api
from tests.integration.mlflow_server import RunningMlflow, mlflow_server

__all__ = ["mlflow_server"]


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
