"""Keys and events that mean the same in every dialect: session, user, error facts, retries, the host that was called.

The keys are read before any dialect's own, the events after it.
"""

from collections.abc import Mapping
from typing import Final

from core.dialects.flat import evaluation
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import code, count, name, structure, text
from core.otlp.slim import Value, attributes_of

EVALUATION: Final = "gen_ai.evaluation.result"
_SESSION_KEYS: Final = ("session_id", "sessionId", "conversation_id", "conversationId", "thread_id", "threadId")
_USER_KEYS: Final = ("user_id", "userId")
_FIRST_TOKENS: Final = frozenset(
    {
        # OpenInference; Traceloop, new and old; MLflow, LangChain's callbacks; Vercel AI
        "First Token Stream Event",
        "gen_ai.content.completion.chunk",
        "llm.content.completion.chunk",
        "mlflow.chunk.item.0",
        "new_token",
        "ai.stream.firstChunk",
    }
)


def read_events(reading: Reading) -> None:
    """Take the time of the first token from the first event that tells of one, and evaluations from theirs."""
    for event in reading.events:
        if event.name in _FIRST_TOKENS:
            if reading.first_token_s is None and event.time_ns >= reading.start_ns:
                reading.first_token_s = (event.time_ns - reading.start_ns) / 1e9
        elif event.name == EVALUATION:
            said = evaluation(attributes_of(event.attributes), "gen_ai.evaluation.")
            reading.found[Field.EVALUATIONS] = (*(reading.found[Field.EVALUATIONS] or ()), said)


def waited_s(reading: Reading, came_s: float) -> float | None:
    """Return how long a span waited for what came at a moment (seconds since the epoch); None where it is before."""
    waited = came_s - reading.start_ns / 1e9
    return waited if waited >= 0 else None


def metadata(value: Value) -> Mapping[str, str] | None:
    """Return session and user out of a `metadata` attribute (LangChain's, as OpenInference and MLflow send it)."""
    found = structure(value)
    if not isinstance(found, dict):
        return None
    session = next((named for key in _SESSION_KEYS if (named := name(found.get(key)))), "")
    return {"session": session, "user": next((named for key in _USER_KEYS if (named := name(found.get(key)))), "")}


def error_type(value: Value) -> str | None:
    """Return an error's type; `_OTHER` is the convention's word for an unknown one."""
    found = text(value)
    return None if not found or found == "_OTHER" else found


def database_code(value: Value) -> int | None:
    """Return a database's own code, as a number; small ones (MongoDB's) would be taken for gRPC's or HTTP's."""
    found = count(value)
    return found if found is not None and found >= 1_000 else None


DIALECT = Dialect(
    name="common",
    rows=(
        (Field.SESSION, name, ("session.id",)),
        (Field.USER, name, ("user.id", "enduser.id")),
        (Field.METADATA, metadata, ("metadata",)),
        (Field.ERROR_TYPE, error_type, ("error.type", "exception.type")),
        (Field.ERROR_MESSAGE, text, ("error.message", "exception.message")),
        (Field.ATTEMPT, count, ("http.request.resend_count",)),
        (Field.SERVER, name, ("server.address",)),
        (
            Field.ERROR_CODE,
            code,
            (
                "http.response.status_code",
                "http.status_code",
                "error.code",
                "rpc.response.status_code",
                "rpc.grpc.status_code",
            ),
        ),
        (Field.ERROR_CODE, database_code, ("db.response.status_code",)),
    ),
)
