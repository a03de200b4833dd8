"""LiteLLM's OTel callback: OTel GenAI, costs, error facts and some thirty mostly empty `metadata.*` keys a span.

Below the LLM span stands the raw call to the provider, with its messages as Python reprs: an HTTP call here, so that
one LLM call is one LLM span. Sessions are found only where the app put them in the request's metadata. Names:
litellm 1.106 and 1.109, integrations/opentelemetry.py.
"""

import re
from typing import Final

from core.dialects import otel_genai
from core.dialects.common import metadata
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import amount, count, name, provider, text
from core.model.span import SpanKind, Usage
from core.otlp.slim import Value

_RAW: Final = "raw_gen_ai_request"
# the raw call's keys begin with `llm.` and the provider's name; the providers that are used most
_PROVIDERS: Final = (
    "openai", "azure", "azure_ai", "anthropic", "bedrock", "vertex_ai", "gemini", "groq", "mistral", "cohere", "ollama",
    "deepseek", "openrouter", "together_ai", "fireworks_ai", "xai", "perplexity", "databricks", "hosted_vllm", "None",
)  # fmt: skip
_COUNTS: Final = re.compile(
    r"'(prompt_tokens|completion_tokens|cached_tokens|reasoning_tokens|cache_creation_input_tokens)': (\d{1,15})\b"
)
_STEPS: Final = ("Received Proxy Server Request", "Failed Proxy Server Request", "proxy_pre_call", "router", "auth")


def usage_object(value: Value) -> Usage | None:
    """Return the tokens in `metadata.usage_object`, a Python repr; the span's own keys leave the details out."""
    said = {key: int(number) for key, number in _COUNTS.findall(value)} if isinstance(value, str) else {}
    if "prompt_tokens" not in said and "completion_tokens" not in said:
        return None
    return Usage(
        input_tokens=said.get("prompt_tokens", 0),
        output_tokens=said.get("completion_tokens", 0),
        cached_tokens=said.get("cached_tokens", 0),
        reasoning_tokens=said.get("reasoning_tokens", 0),
        cache_write_tokens=said.get("cache_creation_input_tokens", 0),
    )


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
        (Field.COST, amount, ("gen_ai.cost.total_cost",)),
        (Field.USAGE, usage_object, ("metadata.usage_object",)),
        (Field.PROVIDER, provider, ("error.llm_provider",)),
        (Field.USER, name, ("metadata.user_api_key_end_user_id", "llm.user", "metadata.user_api_key_user_id")),
        (Field.METADATA, metadata, ("metadata.requester_metadata", "metadata.spend_logs_metadata")),
        (Field.SESSION, name, ("metadata.session_id", "metadata.litellm_session_id", "litellm.session_id")),
        (Field.MAX_TOKENS, count, ("llm.request.max_tokens",)),
        (Field.TOOL_DEFINITIONS, text, ("llm.request.functions",)),
    ),
    read=read,
)
