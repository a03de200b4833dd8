"""Alerts over HTTP."""

from sinks.webhook.config import WebhookConfig
from sinks.webhook.sink import WebhookSink

__all__ = ["WebhookConfig", "WebhookSink"]
