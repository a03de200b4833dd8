"""What the digest of a turn leaves out is counted."""

import json

import pytest

from collector.otlp_json import traces_from_json
from tests.properties.assembler_model import World


def _trace(*, evaluations: int, session: str = "s1") -> bytes:
    """One rooted LLM span of a session, rated so often."""
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.conversation.id": session}
    message = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "hi"}]}])
    rated = [
        {"key": "gen_ai.evaluation.name", "value": {"stringValue": "relevance"}},
        {"key": "gen_ai.evaluation.score.value", "value": {"doubleValue": 0.9}},
    ]
    span = {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "name": "chat gpt-4o",
        "startTimeUnixNano": "1000000000",
        "endTimeUnixNano": "2000000000",
        "attributes": [
            {"key": key, "value": {"stringValue": value}}
            for key, value in {**attributes, "gen_ai.input.messages": message}.items()
        ],
        "events": [
            {"timeUnixNano": "1500000000", "name": "gen_ai.evaluation.result", "attributes": rated}
            for _ in range(evaluations)
        ],
    }
    return traces_from_json(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode())


@pytest.mark.parametrize(("evaluations", "counted"), [(16, 0), (20, 4)])
def test_ratings_beyond_those_that_a_turn_holds_are_counted(evaluations: int, counted: int) -> None:
    world = World()
    world.append_bytes(1.0, _trace(evaluations=evaluations))
    (version,) = world.run().final().values()
    assert version.turn is not None
    assert len(version.turn.evaluations) == 16
    assert world.telemetry.total("clearwatch.dropped", reason="turn_evaluation_left_out") == counted
