"""Every way in which a client names the session of a trace, and the markers that name none."""

import json
from typing import Any

import pytest

from core.model.span import Span
from core.model.trace import Trace
from tests.unit.dialect_spans import read_span

FORMS: dict[str, dict[str, Any]] = {
    "OpenInference, Strands, Langfuse, Claude Code": {"session.id": "s-1"},
    "OTel GenAI, Pydantic AI, Google ADK, Gemini CLI": {"gen_ai.conversation.id": "s-1"},
    "Langfuse before 3": {"langfuse.session.id": "s-1"},
    "Traceloop": {"traceloop.association.properties.session_id": "s-1"},
    "Traceloop, thread": {"traceloop.association.properties.thread_id": "s-1"},
    "Traceloop, conversation": {"traceloop.association.properties.conversation_id": "s-1"},
    "LangSmith, session": {"langsmith.metadata.session_id": "s-1"},
    "LangSmith, thread": {"langsmith.metadata.thread_id": "s-1"},
    "LangSmith, conversation": {"langsmith.metadata.conversation_id": "s-1"},
    "Vercel AI": {"ai.telemetry.metadata.sessionId": "s-1"},
    "Vercel AI, snake case": {"ai.telemetry.metadata.session_id": "s-1"},
    "Vercel AI, chat": {"ai.telemetry.metadata.chatId": "s-1"},
    "LangChain's metadata in OpenInference": {"metadata": json.dumps({"session_id": "s-1", "user_id": "u"})},
    "LangChain's metadata, thread": {"metadata": json.dumps({"thread_id": "s-1"})},
    "MLflow": {"mlflow.trace.session": '"s-1"'},
    "Google ADK before 1.20": {"gcp.vertex.agent.session_id": "s-1"},
}
MARKERS = ("[Scrubbed due to 'session']", "__REDACTED__", "<REDACTED>", "", "<not specified>", "None")


def session_of(*attributes: dict[str, Any]) -> str:
    spans = [read_span(given) for given in attributes]
    return Trace(trace_id=spans[0].trace_id, spans=spans).session_id


@pytest.mark.parametrize("form", FORMS)
def test_a_session_is_known_by_whichever_key_names_it(form: str) -> None:
    assert session_of(FORMS[form]) == "s-1"


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("form", FORMS)
def test_what_stands_in_for_an_id_is_none(form: str, marker: str) -> None:
    ((key, value),) = FORMS[form].items()
    sent = json.dumps({**json.loads(value), next(iter(json.loads(value))): marker}) if key == "metadata" else marker
    assert session_of({key: sent}) == ""


def test_a_scrubbed_id_does_not_hide_the_one_of_another_key() -> None:
    assert session_of({"session.id": "[Scrubbed due to 'session']", "gen_ai.conversation.id": "s-1"}) == "s-1"


def test_a_session_stands_for_the_whole_trace_whichever_span_names_it() -> None:
    def span(number: int, session_id: str = "") -> Span:
        return Span(trace_id="a", span_id=f"{number:016x}", start_ns=number, session_id=session_id)

    assert Trace(trace_id="a", spans=[span(3), span(1), span(2, "s-1")]).session_id == "s-1"


def test_the_project_of_langsmith_is_no_session() -> None:
    assert session_of({"langsmith.trace.session_name": "my-project", "langsmith.span.kind": "llm"}) == ""
