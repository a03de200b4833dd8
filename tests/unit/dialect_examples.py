"""One hand-made set of spans a dialect, with every key that its client writes: what the table of dialects is worked out
from, and what is compared with MLflow's translators."""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from core.dialects import decode
from core.model.span import Span
from core.otlp.wire import read_spans
from tests.unit import test_dialects_agentops as agentops
from tests.unit import test_dialects_coding_agents as coding
from tests.unit import test_dialects_frameworks as frameworks
from tests.unit import test_dialects_genkit as genkit
from tests.unit import test_dialects_google_adk as adk
from tests.unit import test_dialects_haystack as haystack
from tests.unit import test_dialects_laminar as laminar
from tests.unit import test_dialects_langfuse as langfuse
from tests.unit import test_dialects_langsmith as langsmith
from tests.unit import test_dialects_llama_index as llama
from tests.unit import test_dialects_mastra as mastra
from tests.unit import test_dialects_pydantic_ai as pydantic_ai
from tests.unit import test_dialects_spring_ai as spring_ai
from tests.unit import test_dialects_strands as strands
from tests.unit import test_dialects_vercel as vercel
from tests.unit import test_dialects_voltagent as volt
from tests.unit.dialect_spans import encoded


class Example(msgspec.Struct, frozen=True):
    """A span as a client writes it."""

    attributes: dict[str, Any]
    name: str = "work"
    scope: str = ""
    status: int = 0
    message: str = ""
    events: tuple[tuple[str, dict[str, Any]], ...] = ()

    def encoded(self) -> bytes:
        """Return it as it stands on the wire."""
        return encoded(
            self.attributes,
            name=self.name,
            scope=self.scope,
            status=self.status,
            message=self.message,
            events=list(self.events),
        )

    def read(self) -> Span:
        """Return what the dialects make of it."""
        (piece,), _ = read_spans(self.encoded())
        return decode(piece)


TOOLS = json.dumps([{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}])
ASKED = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "weather in Lisbon?"}]}])
SAID = json.dumps(
    [{"role": "assistant", "parts": [{"type": "text", "content": "It is 18 °C."}], "finish_reason": "stop"}]
)
FAILED: Final[tuple[str, dict[str, Any]]] = (
    "exception",
    {"exception.type": "openai.RateLimitError", "exception.message": "Error code: 429 - slow"},
)

GENAI_CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.provider.name": "openai",
    "gen_ai.input.messages": ASKED,
    "gen_ai.output.messages": SAID,
    "gen_ai.system_instructions": '[{"type": "text", "content": "Be brief."}]',
    "gen_ai.tool.definitions": TOOLS,
    "gen_ai.output.type": "json",
    "gen_ai.request.max_tokens": 300,
    "gen_ai.request.temperature": 0.2,
    "gen_ai.request.stream": True,
    "gen_ai.usage.input_tokens": 40,
    "gen_ai.usage.output_tokens": 17,
    "gen_ai.usage.cache_read.input_tokens": 8,
    "gen_ai.usage.cache_creation.input_tokens": 2,
    "gen_ai.usage.reasoning.output_tokens": 3,
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.conversation.id": "s-1",
    "gen_ai.response.time_to_first_chunk": 0.25,
    "gen_ai.prompt.name": "weather",
    "gen_ai.prompt.version": "3",
    "server.address": "api.openai.com",
    "user.id": "u-1",
}
GENAI_TOOL: dict[str, Any] = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "get_weather",
    "gen_ai.tool.call.id": "call_1",
    "gen_ai.tool.call.arguments": '{"city": "Lisbon"}',
    "gen_ai.tool.call.result": '{"temp": 18}',
}
GENAI_AGENT: dict[str, Any] = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "travel"}
RETRIEVAL: dict[str, Any] = {
    "gen_ai.operation.name": "retrieval",
    "gen_ai.data_source.id": "kb",
    "gen_ai.retrieval.query.text": "refunds?",
    "gen_ai.retrieval.documents": json.dumps([{"id": "kb/1", "score": 0.8}]),
}
RESENT: dict[str, Any] = {
    "http.request.method": "POST",
    "http.request.resend_count": 1,
    "http.response.status_code": 503,
}
AGENTS: Final = "logfire.openai_agents"
_OI = "openinference.span.kind"
OPENINFERENCE_LLM: dict[str, Any] = {
    _OI: "LLM",
    "llm.model_name": "gpt-4o-mini",
    "llm.provider": "openai",
    "llm.invocation_parameters": '{"model": "gpt-4o-mini", "max_tokens": 300, "temperature": 0.2, "stream": true, '
    '"response_format": {"type": "json_object"}}',
    "llm.input_messages.0.message.role": "user",
    "llm.input_messages.0.message.content": "weather in Lisbon?",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "It is 18 °C.",
    "llm.tools.0.tool.json_schema": json.dumps({"type": "function", "function": {"name": "get_weather"}}),
    "llm.token_count.prompt": 40,
    "llm.token_count.completion": 17,
    "llm.token_count.prompt_details.cache_read": 8,
    "llm.token_count.prompt_details.cache_write": 2,
    "llm.token_count.completion_details.reasoning": 3,
    "llm.cost.total": 0.003,
    "llm.finish_reason": "stop",
    "llm.prompt_template.version": "3",
    "session.id": "s-1",
    "user.id": "u-1",
    "input.value": "{}",
    "output.value": "{}",
}
OPENINFERENCE_TOOL: dict[str, Any] = {
    _OI: "TOOL",
    "tool.name": "get_weather",
    "tool.id": "call_1",
    "input.value": '{"city": "Lisbon"}',
    "output.value": "18",
}
OPENINFERENCE_RETRIEVER: dict[str, Any] = {
    _OI: "RETRIEVER",
    "input.value": "refunds?",
    "retrieval.documents.0.document.id": "kb/1",
    "retrieval.documents.0.document.score": 0.8,
    "retrieval.documents.0.document.content": "Within 24 h",
}
_FIRST: Final[tuple[str, dict[str, Any]]] = ("First Token Stream Event", {})
LOGS_FORM: dict[str, Any] = {
    key: value
    for key, value in GENAI_CHAT.items()
    if key
    not in (
        "gen_ai.provider.name", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions",
        "gen_ai.tool.definitions", "gen_ai.response.time_to_first_chunk", "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_read.input_tokens", "gen_ai.prompt.name",
        "gen_ai.prompt.version", "gen_ai.conversation.id", "user.id", "gen_ai.request.stream",
    )
}  # fmt: skip
MLFLOW_LLM: dict[str, Any] = {
    "mlflow.traceRequestId": '"tr-1"',
    "mlflow.spanType": '"CHAT_MODEL"',
    "mlflow.llm.model": '"gpt-4o-mini"',
    "mlflow.llm.provider": '"openai"',
    "mlflow.spanInputs": json.dumps(
        {
            "messages": [{"role": "user", "content": "weather?"}],
            "max_tokens": 300,
            "stream": True,
            "response_format": {"type": "json_object"},
        }
    ),
    "mlflow.linkedPrompts": '[{"name": "greeting", "version": "3"}]',
    "mlflow.spanOutputs": json.dumps(
        {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "It is 18 °C."}}]}
    ),
    "mlflow.chat.tools": TOOLS,
    "mlflow.chat.tokenUsage": '{"input_tokens": 40, "output_tokens": 17, "cache_read_input_tokens": 8, '
    '"cache_creation_input_tokens": 2}',
    "mlflow.llm.cost": '{"input_cost": 0.001, "output_cost": 0.002, "total_cost": 0.003}',
    "session.id": "s-1",
    "user.id": "u-1",
}
_O = langfuse.OBSERVED

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = {
    "OTel GenAI, 1.37 and later": (
        Example(GENAI_CHAT, "chat gpt-4o-mini", "opentelemetry.instrumentation.genai.openai"),
        Example(GENAI_TOOL),
        Example(GENAI_AGENT),
        Example(RETRIEVAL),
        Example(RESENT, "POST", "opentelemetry.instrumentation.httpx", 2),
        Example(GENAI_CHAT | {"error.type": "openai.RateLimitError"}, status=2, message="Error code: 429 - slow"),
    ),
    "OTel GenAI before 1.37": (
        Example(LOGS_FORM | {"gen_ai.system": "openai"}, scope="opentelemetry.instrumentation.openai_v2"),
        Example({key: GENAI_TOOL[key] for key in list(GENAI_TOOL)[:3]}),
        Example(GENAI_AGENT),
        Example(LOGS_FORM | {"error.type": "RateLimitError"}, status=2, message="Error code: 429 - slow"),
    ),
    "OpenLLMetry": (
        Example(
            GENAI_CHAT
            | {
                "traceloop.span.kind": "llm",
                "traceloop.association.properties.session_id": "s-1",
                "traceloop.association.properties.user_id": "u-1",
                "gen_ai.is_streaming": True,
                "gen_ai.usage.reasoning_tokens": 3,
            },
            scope="opentelemetry.instrumentation.openai.v1",
            events=(("gen_ai.content.completion.chunk", {}),),
        ),
        Example(
            {
                "traceloop.span.kind": "tool",
                "traceloop.entity.name": "get_weather",
                "traceloop.entity.input": json.dumps({"input_str": "{'city': 'Lisbon'}", "inputs": {"city": "Lisbon"}}),
                "traceloop.entity.output": '{"output": "18"}',
            },
            "get_weather.tool",
        ),
        Example({"traceloop.span.kind": "agent", "traceloop.entity.name": "travel"}, "travel.agent"),
        Example(
            {
                "traceloop.span.kind": "task",
                "gen_ai.operation.name": "vector_db_retrieve",
                "traceloop.entity.input": '{"query": "q", "tags": []}',
                "traceloop.entity.output": '{"documents": [{"page_content": "x"}], "count": 1}',
            },
            "vector_db_retrieve R",
        ),
        Example(GENAI_CHAT, scope="opentelemetry.instrumentation.openai.v1", status=2, events=(FAILED,)),
    ),
    "OpenLLMetry before 0.5": (
        Example(
            {
                "llm.request.type": "chat",
                "gen_ai.system": "OpenAI",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.request.max_tokens": 300,
                "gen_ai.prompt.0.role": "user",
                "gen_ai.prompt.0.content": "weather in Lisbon?",
                "gen_ai.completion.0.role": "assistant",
                "gen_ai.completion.0.content": "It is 18 °C.",
                "gen_ai.completion.0.finish_reason": "stop",
                "llm.request.functions.0.name": "get_weather",
                "llm.request.functions.0.parameters": '{"type": "object"}',
                "gen_ai.usage.prompt_tokens": 40,
                "gen_ai.usage.completion_tokens": 17,
                "gen_ai.usage.cache_read_input_tokens": 8,
                "llm.usage.total_tokens": 57,
                "llm.is_streaming": True,
                "traceloop.association.properties.session_id": "s-1",
                "traceloop.association.properties.user_id": "u-1",
            },
            "openai.chat",
            "opentelemetry.instrumentation.openai.v1",
            events=(("llm.content.completion.chunk", {}),),
        ),
        Example(
            {
                "traceloop.span.kind": "tool",
                "traceloop.entity.name": "get_weather",
                "traceloop.entity.input": '{"args": [], "kwargs": {"city": "Lisbon"}}',
                "traceloop.entity.output": '"18"',
            }
        ),
        Example({"traceloop.span.kind": "agent", "traceloop.entity.name": "travel"}),
        Example(
            {"llm.request.type": "chat", "gen_ai.request.model": "gpt-4o-mini"},
            status=2,
            message="Error code: 429 - slow",
        ),
    ),
    "OpenInference": (
        Example(OPENINFERENCE_LLM, "ChatCompletion", "openinference.instrumentation.openai", events=(_FIRST,)),
        Example(OPENINFERENCE_TOOL),
        Example(OPENINFERENCE_RETRIEVER),
        Example({_OI: "AGENT", "agent.name": "travel"}),
        Example(OPENINFERENCE_LLM, status=2, message="RateLimitError: Error code: 429 - slow", events=(FAILED,)),
    ),
    "CrewAI (OpenInference)": (
        Example(
            {_OI: "AGENT", "graph.node.id": "Researcher", "input.value": "topic", "output.value": "report"},
            "Researcher._execute_core",
            "openinference.instrumentation.crewai",
        ),
        Example(
            {_OI: "TOOL", "tool.name": "search", "input.value": '{"q": 1}', "output.value": "3"},
            scope="openinference.instrumentation.crewai",
            status=2,
            events=(FAILED,),
        ),
    ),
    "MLflow": (
        Example(MLFLOW_LLM, "Completions", "mlflow.openai", events=(("mlflow.chunk.item.0", {}),)),
        Example(
            {
                "mlflow.spanType": '"TOOL"',
                "mlflow.spanInputs": '{"city": "Lisbon"}',
                "mlflow.spanOutputs": '{"content": "18", "tool_call_id": "call_1"}',
                "tool_call_id": '"call_1"',
            },
            "get_weather",
        ),
        Example(
            {
                "mlflow.spanType": '"RETRIEVER"',
                "mlflow.spanInputs": '"q"',
                "mlflow.spanOutputs": '[{"page_content": "x"}]',
            }
        ),
        Example({"mlflow.spanType": '"LLM"'}, status=2, events=(FAILED,)),
    ),
    "Langfuse": (
        Example(
            langfuse.BASE
            | {
                _O + "type": "generation",
                _O + "model.name": "gpt-4o-mini",
                _O + "model.parameters": '{"temperature": 0.2, "max_tokens": 300}',
                _O + "input": '{"tools": [{"type": "function", "function": {"name": "t"}}], '
                '"messages": [{"role": "user", "content": "refunds?"}]}',
                _O + "output": '{"role": "assistant", "content": "Within 24 hours."}',
                _O
                + "usage_details": '{"input": 30, "input_cached_tokens": 8, "input_cache_creation": 2, "output": 14, '
                '"output_reasoning": 3}',
                _O + "cost_details": '{"total": 0.003}',
                _O + "completion_start_time": '"2025-10-09T08:53:20.250000Z"',
                _O + "prompt.name": "refunds",
                _O + "prompt.version": 3,
                _O + "metadata.ls_provider": '"openai"',
                _O + "metadata.response_format": '{"type": "json_object"}',
            },
            "answer",
            "langfuse-sdk",
        ),
        Example({_O + "type": "tool", _O + "input": '{"args": ["x"]}', _O + "output": "18"}, "weather", "langfuse-sdk"),
        Example(
            {_O + "type": "tool", _O + "output": '{"content": "18", "type": "tool", "tool_call_id": "c1"}'},
            "weather",
            "langfuse-sdk",
        ),
        Example({_O + "type": "retriever", _O + "output": '[{"id": "1", "score": 0.8}]'}, "kb", "langfuse-sdk"),
        Example({_O + "type": "agent"}, "travel", "langfuse-sdk"),
        Example({_O + "type": "generation", _O + "level": "ERROR", _O + "status_message": "Error code: 429"}, status=2),
    ),
    "LangSmith": (
        Example(
            langsmith.BASE
            | {
                "langsmith.span.kind": "llm",
                "gen_ai.operation.name": "chat",
                "gen_ai.system": "openai",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.request.max_tokens": 300,
                "langsmith.request.streaming": True,
                "gen_ai.tool.definitions": TOOLS,
                "gen_ai.usage.input_tokens": 30,
                "gen_ai.usage.output_tokens": 21,
                "gen_ai.usage.input_token_details": "{'cache_read': 8}",
                "gen_ai.usage.output_token_details": "{'reasoning': 3}",
                "langsmith.metadata.lc_hub_repo": "refunds",
                "langsmith.metadata.lc_hub_commit_hash": "3f2a",
                "gen_ai.prompt": json.dumps({"messages": [{"role": "user", "content": "weather?"}]}),
                "gen_ai.completion": json.dumps(langsmith.GENERATION),
            },
            "ChatOpenAI",
            "langsmith",
        ),
        Example(
            {
                "langsmith.span.kind": "tool",
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "get_weather",
                "gen_ai.tool.call.id": "call_1",
                "gen_ai.prompt": "{\"input\": \"{'city': 'Lisbon'}\"}",
                "gen_ai.completion": '{"output": "18"}',
            },
            scope="langsmith",
        ),
        Example(
            {
                "langsmith.span.kind": "retriever",
                "gen_ai.operation.name": "embeddings",
                "gen_ai.completion": '{"documents": [{"page_content": "x", "id": "1"}]}',
            },
            scope="langsmith",
        ),
        Example({"langsmith.span.kind": "chain", "langsmith.metadata.lc_agent_name": "travel"}, scope="langsmith"),
        Example({"langsmith.span.kind": "llm"}, scope="langsmith", status=2, events=(FAILED,)),
    ),
    "Pydantic AI": (
        Example(
            pydantic_ai.CHAT
            | {
                "gen_ai.input.messages": ASKED,
                "gen_ai.output.messages": SAID,
                "gen_ai.tool.definitions": TOOLS,
                "gen_ai.request.max_tokens": 300,
                "gen_ai.request.temperature": 0.2,
                "model_request_parameters": '{"output_mode": "native", "output_object": {"json_schema": '
                '{"type": "object"}}}',
            },
            "chat gpt-4o-mini",
            pydantic_ai.SCOPE,
        ),
        Example(
            GENAI_TOOL | {"pydantic_ai.tool.retry.attempt": 2}, scope=pydantic_ai.SCOPE, status=2, events=(FAILED,)
        ),
        Example({"agent_name": "travel", "gen_ai.agent.name": "travel"}, "travel run", pydantic_ai.SCOPE),
    ),
    "Logfire": (
        Example(
            pydantic_ai.LOGFIRE
            | {
                "gen_ai.operation.name": "chat",
                "gen_ai.system": "openai",
                "request_data": json.dumps(
                    pydantic_ai.REQUEST
                    | {
                        "tools": json.loads(TOOLS),
                        "response_format": {"type": "json_object"},
                        "max_tokens": 300,
                        "stream": False,
                    }
                ),
                "response_data": json.dumps(
                    {"message": {"role": "assistant", "content": "18 °C"}, "usage": pydantic_ai.USED}
                ),
                "gen_ai.response.finish_reasons": '["stop"]',
                "operation.cost": 0.003,
                "session.id": "[Scrubbed due to 'session']",
            },
            "Chat Completion with 'gpt-4o-mini'",
            "logfire.openai",
        ),
        Example(pydantic_ai.LOGFIRE, scope="logfire.openai", status=2, events=(FAILED,)),
    ),
    "CrewAI": (
        Example(
            {
                "crewai.event_name": "llm_call_completed",
                "crewai.agent.role": "travel",
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.request.stream": False,
                "gen_ai.request.max_tokens": 300,
                "gen_ai.output.type": "text",
                "gen_ai.input.messages": ASKED,
                "gen_ai.output.messages": SAID,
                "gen_ai.tool.definitions": TOOLS,
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.conversation.id": "s-1",
                "gen_ai.usage.input_tokens": 40,
                "gen_ai.usage.output_tokens": 17,
                "gen_ai.usage.cache_read.input_tokens": 8,
                "gen_ai.usage.cache_creation.input_tokens": 2,
                "gen_ai.usage.reasoning.output_tokens": 3,
                "enduser.id": "u-1",
            },
            "call llm",
            "crewai",
        ),
        Example(
            {
                "crewai.event_name": "tool_usage_finished",
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "find",
                "gen_ai.tool.call.arguments": "{}",
                "gen_ai.tool.call.result": "18",
            },
            "call tool",
            "crewai",
        ),
        Example(
            {"crewai.event_name": "knowledge_query_completed", "crewai.knowledge.retrieved_knowledge": '[{"id": "1"}]'},
            "query knowledge",
            "crewai",
        ),
        Example({"crewai.event_name": "llm_call_failed"}, "call llm", "crewai", 2, "Error code: 429 - slow"),
    ),
    "Haystack": (
        Example(
            {
                "haystack.agent.step.llm.input": json.dumps(haystack.ASKED),
                "haystack.agent.step.llm.output": json.dumps(haystack.reply({"text": "18 °C"})),
            },
            "haystack.agent.step.llm",
        ),
        Example(
            {
                "haystack.component.type": "ToolInvoker",
                "haystack.component.output": json.dumps(
                    {"tool_messages": [{"content": [{"tool_call_result": haystack.RESULT}]}]}
                ),
            },
            "haystack.component.run",
        ),
        Example({"haystack.component.type": "Agent", "haystack.component.name": "travel"}, "haystack.component.run"),
        Example(
            {"haystack.component.type": "R2Retriever", "haystack.component.output": '{"documents": []}'},
            "haystack.component.run",
        ),
        Example({"haystack.agent.step": 0}, "haystack.agent.step", "", 2, events=(FAILED,)),
    ),
    "AG2": (
        Example(
            {
                "ag2.span.type": "llm",
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.input.messages": '[{"content": "weather?", "role": "user"}]',
                "gen_ai.output.messages": '[{"content": "18 °C", "role": "assistant"}]',
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.usage.input_tokens": 40,
                "gen_ai.usage.output_tokens": 17,
                "gen_ai.usage.cache_read_input_tokens": 8,
                "gen_ai.usage.cache_creation_input_tokens": 2,
            },
            "chat gpt-4o-mini",
            frameworks.AG2,
        ),
        Example(GENAI_TOOL | {"ag2.span.type": "tool"}, "execute_tool get_weather", frameworks.AG2),
        Example(GENAI_AGENT | {"ag2.span.type": "agent"}, "invoke_agent travel", frameworks.AG2),
        Example({"ag2.span.type": "llm"}, "chat gpt-4o-mini", frameworks.AG2, 2, events=(FAILED,)),
    ),
    "AgentOps": (
        Example(agentops.CALL, "openai.chat.completion", "openai"),
        Example(
            {
                "agentops.span.kind": "tool",
                "operation.name": "find",
                "agentops.tool.input": '{"args": [], "kwargs": {}}',
                "agentops.tool.output": "18",
            },
            "find.tool",
            agentops.SCOPE,
        ),
        Example({"agentops.span.kind": "agent", "operation.name": "travel"}, "travel.agent", agentops.SCOPE),
        Example({"agentops.span.kind": "task"}, "trip.task", agentops.SCOPE, 2, events=(FAILED,)),
    ),
    "Laminar": (
        Example(
            laminar.BASE | {"lmnr.span.type": "LLM"} | laminar.CALL,
            "openai.chat",
            laminar.SCOPE,
            events=(("llm.content.completion.chunk", {}),),
        ),
        Example({"lmnr.span.type": "TOOL", "lmnr.span.input": "{}", "lmnr.span.output": '"18"'}, "find", laminar.SCOPE),
        Example({"lmnr.span.type": "LLM"}, "openai.chat", laminar.SCOPE, 2, events=(FAILED,)),
    ),
    "LlamaIndex": (
        Example(
            llama.TAGS,
            "OpenAI.achat",
            llama.SCOPE,
            events=(
                ("LLMChatStartEvent", llama.START | {"additional_kwargs.response_format": '{"type": "json_object"}'}),
                (
                    "LLMChatEndEvent",
                    llama.END
                    | {"response.raw.choices": '[{"finish_reason": "stop", "message": {"content": "18 °C"}}]'},
                ),
            ),
        ),
        Example(
            {"llamaindex.step.input_summary": "ToolCall(tool_name='find', tool_kwargs={'q': 1}, tool_id='c1')"},
            "FunctionTool.acall",
            llama.SCOPE,
        ),
        Example(llama.TAGS, "R.aretrieve", llama.SCOPE, events=(("RetrievalEndEvent", {"nodes": '[{"score": 0.8}]'}),)),
        Example(llama.TAGS, "FunctionAgent.run", llama.SCOPE, 2, events=(FAILED,)),
    ),
    "OpenAI Agents (Logfire)": (
        Example({"name": "trip", "group_id": "s-1", "metadata": '{"user_id": "u-1"}'}, "OpenAI Agents trace", AGENTS),
        Example({"name": "travel", "tools": '["get_weather"]'}, "Agent run: {name!r}", AGENTS),
        Example(
            {
                "gen_ai.system": "openai",
                "gen_ai.request.model": "gpt-4o-mini",
                "raw_input": '[{"role": "user", "content": "weather?"}]',
                "response": json.dumps(
                    {
                        "object": "response",
                        "status": "completed",
                        "output": [{"type": "message", "content": [{"type": "output_text", "text": "18 °C"}]}],
                        "text": {"format": {"type": "json_object"}},
                        "tools": json.loads(TOOLS),
                    }
                ),
                "model_settings": '{"temperature": 0.2, "max_tokens": 300}',
                "usage": json.dumps(
                    {
                        "input_tokens": 40,
                        "output_tokens": 17,
                        "input_tokens_details": {"cached_tokens": 8},
                        "output_tokens_details": {"reasoning_tokens": 3},
                    }
                ),
            },
            "Responses API with {gen_ai.request.model!r}",
            AGENTS,
        ),
        Example({"name": "get_weather", "input": "{}", "output": "18"}, "Function: {name}", AGENTS),
        Example({"gen_ai.system": "openai"}, "Responses API", AGENTS, 2, events=(FAILED,)),
    ),
    "LiteLLM": (
        Example(
            frameworks.LITELLM
            | {
                "gen_ai.input.messages": ASKED,
                "gen_ai.output.messages": SAID,
                "gen_ai.request.max_tokens": 300,
                "llm.request.functions.0.name": "get_weather",
            },
            "litellm_request",
            "litellm",
        ),
        Example(
            frameworks.LITELLM | {"error.type": "RateLimitError", "http.response.status_code": 429},
            scope="litellm",
            status=2,
        ),
    ),
    "Vercel AI 3 to 6": (
        Example(
            vercel.BASE
            | {
                "ai.operationId": "ai.streamText.doStream",
                "ai.prompt.messages": vercel.PROMPT,
                "ai.prompt.tools": [vercel.TOOL],
                "ai.response.text": "It is 18 °C.",
                "ai.response.finishReason": "stop",
                "ai.response.msToFirstChunk": 57.2,
                "ai.usage.inputTokens": 40,
                "ai.usage.outputTokens": 17,
                "ai.usage.cachedInputTokens": 8,
                "ai.usage.reasoningTokens": 3,
                "ai.usage.inputTokenDetails.cacheWriteTokens": 2,
                "gen_ai.usage.input_tokens": 40,
                "gen_ai.usage.output_tokens": 17,
            },
            "ai.streamText.doStream",
            "ai",
        ),
        Example(
            vercel.BASE | {"ai.operationId": "ai.generateObject", "ai.schema": '{"type": "object"}'},
            "ai.generateObject",
            "ai",
        ),
        Example(
            {
                "ai.operationId": "ai.toolCall",
                "ai.toolCall.name": "get_weather",
                "ai.toolCall.id": "call_1",
                "ai.toolCall.args": '{"city":"Lisbon"}',
                "ai.toolCall.result": "18",
            },
            "ai.toolCall",
            "ai",
        ),
        Example(
            vercel.BASE,
            "ai.generateText.doGenerate",
            "ai",
            2,
            events=(("exception", {"exception.type": "AI_APICallError", "exception.message": "Rate limit reached"}),),
        ),
    ),
    "Vercel AI 7": (
        Example(
            vercel.V7
            | {
                "gen_ai.operation.name": "chat",
                "gen_ai.input.messages": ASKED,
                "gen_ai.output.messages": SAID,
                "gen_ai.tool.definitions": TOOLS,
                "gen_ai.request.max_tokens": 300,
                "gen_ai.output.type": "json",
                "gen_ai.usage.cache_read.input_tokens": 8,
                "gen_ai.usage.cache_creation.input_tokens": 2,
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.client.operation.time_to_first_chunk": 0.25,
                "ai.usage.outputTokenDetails.reasoningTokens": 3,
                "ai.settings.context.sessionId": "s-1",
                "ai.settings.context.userId": "u-1",
            },
            "chat gpt-4o-mini",
            "gen_ai",
        ),
        Example(GENAI_TOOL, "execute_tool get_weather", "gen_ai"),
        Example(GENAI_AGENT, "invoke_agent gpt-4o-mini", "gen_ai"),
        Example({"gen_ai.operation.name": "agent_step"}, "step 1", "gen_ai"),
        Example(
            vercel.V7 | {"gen_ai.operation.name": "chat", "http.response.status_code": 429},
            scope="gen_ai",
            status=2,
            message="slow",
        ),
    ),
    "Strands": (
        Example(
            strands.CHAT | {"gen_ai.usage.cache_write_input_tokens": 2},
            "chat",
            strands.SCOPE,
            1,
            events=(
                ("gen_ai.user.message", {"content": '[{"text": "weather?"}]'}),
                ("gen_ai.choice", {"finish_reason": "end_turn", "message": '[{"text": "It is 18 °C."}]'}),
            ),
        ),
        Example(
            strands.TOOL,
            "execute_tool get_weather",
            strands.SCOPE,
            1,
            events=(
                ("gen_ai.tool.message", {"content": '{"city": "Lisbon"}'}),
                ("gen_ai.choice", {"message": '[{"text": "18C"}]'}),
            ),
        ),
        Example(GENAI_AGENT | {"gen_ai.agent.tools": '["get_weather"]'}, scope=strands.SCOPE),
        Example(strands.CHAT, scope=strands.SCOPE, status=2, events=(FAILED,)),
    ),
    "Spring AI": (
        Example(
            spring_ai.CLIENT, "spring_ai chat_client", spring_ai.SCOPE, 2, events=(("exception", spring_ai.THROWN),)
        ),
        Example(spring_ai.CHAT, "chat gpt-4o-mini", spring_ai.SCOPE),
        Example(spring_ai.TOOL, "execute_tool get_weather", spring_ai.SCOPE),
        Example(spring_ai.QUERY, "simple query", spring_ai.SCOPE),
    ),
    "Mastra": (
        Example(mastra.AGENT, "invoke_agent Traveller", mastra.SCOPE, status=2, events=(FAILED,)),
        Example(mastra.GENERATION, "chat gpt-4o-mini", mastra.SCOPE),
        Example(mastra.TOOL, "execute_tool get_weather", mastra.SCOPE),
    ),
    "Genkit": (
        Example(genkit.MODEL, "googleai/gemini-2.5-flash", genkit.SCOPE),
        Example(genkit.TOOL, "get_weather", genkit.SCOPE),
        Example(genkit.RETRIEVER, "kb", genkit.SCOPE),
        Example(genkit.FLOW, "travelFlow", genkit.SCOPE, status=2, events=(FAILED,)),
    ),
    "VoltAgent": (
        Example(volt.AGENT, "Traveller", volt.SCOPE, status=2, events=(FAILED,)),
        Example(volt.CALL, "llm:generateText", volt.SCOPE),
        Example(volt.TOOL, "tool.execution:get_weather", volt.SCOPE),
    ),
    "Google ADK": (
        Example(
            {
                "gen_ai.operation.name": "generate_content",
                "gen_ai.request.model": "gemini-2.5-flash",
                "gen_ai.provider.name": "gcp.gemini",
                "gen_ai.agent.name": "travel",
                "gen_ai.conversation.id": "s-1",
                "gen_ai.input.messages": ASKED,
                "gen_ai.output.messages": SAID,
                "gen_ai.tool.definitions": TOOLS,
                "gen_ai.request.max_tokens": 300,
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.usage.input_tokens": 45,
                "gen_ai.usage.output_tokens": 21,
                "gen_ai.usage.cache_read.input_tokens": 8,
                "gen_ai.usage.reasoning.output_tokens": 3,
            },
            "generate_content gemini-2.5-flash",
            adk.SCOPE,
        ),
        Example(
            {"gcp.vertex.agent.llm_request": json.dumps(adk.REQUEST), "gcp.vertex.agent.llm_response": adk.response()},
            "call_llm",
            adk.SCOPE,
        ),
        Example(GENAI_TOOL, "execute_tool get_weather", adk.SCOPE),
        Example(GENAI_AGENT, "invoke_agent travel", adk.SCOPE),
        Example({"gen_ai.operation.name": "generate_content"}, scope=adk.SCOPE, status=2, events=(FAILED,)),
    ),
    "MS Agent Framework": (
        Example(
            frameworks.AGENT_FRAMEWORK
            | {
                "gen_ai.input.messages": ASKED,
                "gen_ai.output.messages": SAID,
                "gen_ai.tool.definitions": TOOLS,
                "gen_ai.request.max_tokens": 300,
                "gen_ai.usage.cache_read.input_tokens": 8,
                "gen_ai.usage.cache_creation.input_tokens": 2,
                "gen_ai.usage.reasoning.output_tokens": 3,
            },
            "chat gpt-4o",
            "agent_framework",
        ),
        Example(GENAI_TOOL, "execute_tool get_weather", "agent_framework"),
        Example(GENAI_AGENT, "invoke_agent travel", "agent_framework"),
        Example(frameworks.AGENT_FRAMEWORK, scope="agent_framework", status=2, events=(FAILED,)),
    ),
    "Claude Code": (
        Example(coding.REQUEST, "claude_code.llm_request", coding.CLAUDE),
        Example(
            {"span.type": "tool", "tool_name": "Bash", "tool_use_id": "toolu_1", "full_command": "ls"},
            "claude_code.tool",
            coding.CLAUDE,
            events=(("tool.output", {"output": "total 0"}),),
        ),
        Example({"span.type": "interaction", "user_prompt": "fix it"}, "claude_code.interaction", coding.CLAUDE),
        Example(coding.REQUEST | {"success": False, "status_code": 529, "error": "Overloaded"}, scope=coding.CLAUDE),
    ),
    "Codex CLI": (
        Example(
            {
                "thread.id": coding.SESSION,
                "model": "gpt-5-codex",
                "codex.turn.token_usage.input_tokens": 900,
                "codex.turn.token_usage.cached_input_tokens": 700,
                "codex.turn.token_usage.output_tokens": 80,
                "codex.turn.token_usage.reasoning_output_tokens": 30,
            },
            "session_task.turn",
            coding.CODEX,
        ),
        Example({}, "model_client.stream_responses_websocket", coding.CODEX, 2, "stream error: 429 Too Many Requests"),
    ),
    "Gemini CLI": (
        Example(
            coding.gemini(
                "llm_call",
                **{
                    "gen_ai.request.model": "gemini-2.5-pro",
                    "gen_ai.input.messages": '[{"role": "user", "parts": [{"text": "fix it"}]}]',
                    "gen_ai.output.messages": '[{"role": "model", "parts": [{"text": "done"}]}]',
                    "gen_ai.usage.input_tokens": 100,
                    "gen_ai.usage.output_tokens": 9,
                    "gen_ai.usage.cache_read.input_tokens": 8,
                },
            ),
            "llm_call",
            coding.GEMINI,
        ),
        Example(coding.gemini("tool_call", **GENAI_TOOL | {"gen_ai.operation.name": "tool_call"}), scope=coding.GEMINI),
        Example(coding.gemini("llm_call"), scope=coding.GEMINI, status=2, message="got status: 429 Too Many Requests"),
    ),
}
