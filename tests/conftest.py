"""Fixtures that every test may use."""

from tests.integration.mlflow_server import mlflow_server

__all__ = ["mlflow_server"]
