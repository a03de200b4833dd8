"""LiteLLM's OTel callback: OTel GenAI, costs, error facts and some thirty mostly empty `metadata.*` keys a span.

Below the LLM span stands the raw call to the provider, with its messages as Python reprs: an HTTP call here, so that
one LLM call is one LLM span. Sessions are found only where the app put them in the request's metadata. Names:
litellm 1.106 and 1.109, integrations/opentelemetry.py.
"""

from typing import Final

from core.dialects import otel_genai
from core.dialects.common import metadata
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import count, decimal, name, provider, text
from core.model.span import SpanKind

_RAW: Final = "raw_gen_ai_request"
# the raw call's keys begin with `llm.` and the provider's name; the providers that are used most
_PROVIDERS: Final = (
    "openai", "azure", "azure_ai", "anthropic", "bedrock", "vertex_ai", "gemini", "groq", "mistral", "cohere", "ollama",
    "deepseek", "openrouter", "together_ai", "fireworks_ai", "xai", "perplexity", "databricks", "hosted_vllm", "None",
)  # fmt: skip
_STEPS: Final = ("Received Proxy Server Request", "Failed Proxy Server Request", "proxy_pre_call", "router", "auth")


def read(reading: Reading) -> None:
    """Read as OTel GenAI; tell the raw call and the proxy's own spans by their names."""
    if reading.name == _RAW or (reading.kind is SpanKind.UNKNOWN and reading.found[Field.RAW] is not None):
        reading.kind = SpanKind.HTTP
    elif reading.kind is SpanKind.UNKNOWN and reading.name in _STEPS:
        reading.kind = SpanKind.CHAIN
    elif reading.kind is SpanKind.UNKNOWN and reading.name == "guardrail":
        reading.kind = SpanKind.GUARDRAIL
    otel_genai.read(reading)


DIALECT = Dialect(
    name="litellm",
    marks=("litellm.call_id", "litellm.provider.model", "hidden_params", "metadata.user_api_key_hash"),
    scopes=("litellm",),
    rows=(
        (
            Field.RAW,
            text,
            tuple(f"llm.{named}.{key}" for named in _PROVIDERS for key in ("messages", "input", "id", "model")),
        ),
        (Field.COST, decimal, ("gen_ai.cost.total_cost",)),
        (Field.PROVIDER, provider, ("error.llm_provider",)),
        (Field.USER, name, ("metadata.user_api_key_end_user_id", "llm.user", "metadata.user_api_key_user_id")),
        (Field.METADATA, metadata, ("metadata.requester_metadata", "metadata.spend_logs_metadata")),
        (Field.SESSION, name, ("metadata.session_id", "metadata.litellm_session_id", "litellm.session_id")),
        (Field.MAX_TOKENS, count, ("llm.request.max_tokens",)),
        (Field.TOOL_DEFINITIONS, text, ("llm.request.functions",)),
    ),
    read=read,
)
