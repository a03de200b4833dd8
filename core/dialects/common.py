"""Keys that mean the same in every dialect: session, user, error facts. Read before any dialect's own."""

from collections.abc import Mapping

from core.dialects.table import Dialect, Field
from core.dialects.values import code, name, structure, text
from core.otlp.slim import Value


def metadata(value: Value) -> Mapping[str, str] | None:
    """Return session and user out of a `metadata` attribute (LangChain's, as OpenInference and MLflow send it)."""
    found = structure(value)
    if not isinstance(found, dict):
        return None
    session = next(
        (named for key in ("session_id", "conversation_id", "thread_id") if (named := name(found.get(key)))), ""
    )
    return {"session": session, "user": name(found.get("user_id")) or ""}


def error_type(value: Value) -> str | None:
    """Return an error's type; `_OTHER` is the convention's word for an unknown one."""
    found = text(value)
    return None if not found or found == "_OTHER" else found


DIALECT = Dialect(
    name="common",
    rows=(
        (Field.SESSION, name, ("session.id",)),
        (Field.USER, name, ("user.id", "enduser.id")),
        (Field.METADATA, metadata, ("metadata",)),
        (Field.ERROR_TYPE, error_type, ("error.type", "exception.type")),
        (Field.ERROR_MESSAGE, text, ("error.message", "exception.message")),
        (
            Field.ERROR_CODE,
            code,
            (
                "http.response.status_code",
                "http.status_code",
                "error.code",
                "rpc.response.status_code",
                "rpc.grpc.status_code",
                "db.response.status_code",
            ),
        ),
    ),
)
