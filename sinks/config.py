"""Section `sinks`: one part for each sink."""

from pydantic import BaseModel, ConfigDict

from sinks.mlflow.config import MlflowConfig
from sinks.records.config import RecordsConfig
from sinks.webhook.config import WebhookConfig


class SinksConfig(BaseModel):
    """Where findings and issues go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    records: RecordsConfig = RecordsConfig()
    mlflow: MlflowConfig = MlflowConfig()
    webhook: WebhookConfig = WebhookConfig()
