"""Where a call goes: to a third party, or to a host of one's own."""

import ipaddress
from collections.abc import Collection
from typing import Final

from core.model.span import Span

# names under which the dialects know hosted models; servers that one runs oneself (ollama, vllm, …) are not among them
HOSTED_PROVIDERS: Final = (
    "openai", "anthropic", "azure", "aws", "bedrock", "gcp", "google", "gemini", "vertex", "cohere", "mistral", "groq",
    "deepseek", "perplexity", "x_ai", "xai", "x.ai", "together", "fireworks", "openrouter", "replicate", "ibm.watsonx",
    "watsonx", "cerebras", "sambanova", "moonshot", "alibaba", "dashscope", "zhipu", "minimax", "ai21",
    "voyage", "jina",
)  # fmt: skip
# models whose weights nobody else has
_HOSTED_MODELS: Final = (
    "gpt-3",
    "gpt-4",
    "gpt-5",
    "chatgpt",
    "claude",
    "gemini-",
    "o1-",
    "o3-",
    "o4-",
    "command-r",
    "grok-",
)
_OWN_SUFFIXES: Final = (
    ".local",
    ".internal",
    ".localhost",
    ".lan",
    ".home.arpa",
    ".svc",
    ".svc.cluster.local",
    ".test",
)


def is_third_party(span: Span, own_hosts: Collection[str]) -> bool:
    """Return whether what a model call was given left for somebody else's host.

    The address decides where it was sent, else the provider's name, else that of a model that only its maker serves.
    `own_hosts` are names, or endings that begin with a dot.
    """
    server = _host(span.details.server)
    if server:
        return not is_own(server, own_hosts)
    provider = span.provider.lower()
    if provider and any(provider.startswith(name) for name in HOSTED_PROVIDERS):
        return True
    return span.model.lower().rpartition("/")[2].startswith(_HOSTED_MODELS)


def is_own(host: str, own_hosts: Collection[str]) -> bool:
    """Return whether a host is the user's own: named so, on this machine, or without a public name or address."""
    if any(host == own or (own[:1] == "." and host.endswith(own)) for own in own_hosts):
        return True
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        return "." not in host or host.endswith(_OWN_SUFFIXES)


def _host(server: str) -> str:
    """Return the host in an address, which some clients send as a URL."""
    host = server.lower().partition("://")[2] or server.lower()
    host = host.partition("/")[0].rpartition("@")[2]
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and ("]" in name or ":" not in name) else host
