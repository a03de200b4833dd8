"""MLflow as the place where traces and issues live."""

from sinks.mlflow.config import MlflowConfig
from sinks.mlflow.sink import MlflowSink

__all__ = ["MlflowConfig", "MlflowSink"]
