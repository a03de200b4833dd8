"""The dialects that are spoken, most specific first: where a span mixes them, the earlier one is believed.

MLflow and OpenInference wrap the spans of others whole and say more of them, but for those of Strands and Haystack,
which MLflow passes on as they are. The frameworks stand before OTel GenAI, whose names most of them use. Langfuse
stands behind them, because some stamp its keys on their spans.
"""

from typing import Final

from core.dialects import (
    ag2,
    agent_framework,
    agentops,
    claude_code,
    codex,
    common,
    crewai,
    fallback,
    gemini_cli,
    genkit,
    google_adk,
    haystack,
    laminar,
    langfuse,
    langsmith,
    litellm,
    llama_index,
    logfire_agents,
    mastra,
    mlflow,
    openinference,
    otel_genai,
    pydantic_ai,
    spring_ai,
    strands,
    traceloop,
    vercel,
    voltagent,
)
from core.dialects.table import Dialect

DIALECTS: Final[tuple[Dialect, ...]] = (
    common.DIALECT,
    strands.DIALECT,
    haystack.DIALECT,
    mlflow.DIALECT,
    openinference.DIALECT,
    vercel.DIALECT,
    google_adk.DIALECT,
    mastra.DIALECT,
    genkit.DIALECT,
    voltagent.DIALECT,
    agent_framework.DIALECT,
    ag2.DIALECT,
    llama_index.DIALECT,
    logfire_agents.DIALECT,
    pydantic_ai.DIALECT,
    litellm.DIALECT,
    langsmith.DIALECT,
    crewai.DIALECT,
    claude_code.DIALECT,
    codex.DIALECT,
    gemini_cli.DIALECT,
    agentops.DIALECT,
    laminar.DIALECT,
    spring_ai.DIALECT,
    langfuse.DIALECT,
    traceloop.DIALECT,
    otel_genai.DIALECT,
    traceloop.ENTITIES,
    fallback.DIALECT,
)
