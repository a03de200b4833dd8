"""Error text in a tool's result: what a tool says when it fails without failing its span.

Anchored: the result as a whole is an error message, it does not merely speak of errors. A page about exceptions, a log
that was searched, a JSON record with a field named `error` further down are results, not failures.
"""

import re
from typing import Final

import msgspec

# an error message, and the fields that mark one, stand at the start; a longer result is data
_READ_BYTES: Final = 65_536
_MARKED_WITHIN: Final = 2_000

_TEXT: Final = re.compile(
    r"""\s*(?:
        (?:tool\ |function\ |execution\ |internal\ )?error(?:\ code)?\s*:\s*\S      # Error: …, Tool error: …
      | error\ (?:executing|calling|running|invoking|in|while|during|code)\b        # Error executing tool get_weather
      | (?:failed|unable)\ to\ (?:execute|call|run|invoke|connect|reach)\b
      | traceback\ \(most\ recent\ call\ last\)
      | (?:[a-z_]\w*\.)*[a-z_]\w*(?:error|exception):\s                             # requests.exceptions.HTTPError: …
      | <(?:tool_use_error|error)>
      | status:\s*["']?error\b
      | tool\ ['"`]?[\w.\-]+['"`]?\ (?:not\ found|does\ not\ exist|is\ not\ a\ valid\ tool)
      | ['"`]?[\w.\-]+['"`]?\ is\ not\ a\ valid\ tool\b
      | unknown\ (?:tool|function)\b
    )""",
    re.VERBOSE | re.IGNORECASE,
)
# each alternative above holds one of these; looking for them costs less than the expression
_WORDS: Final = ("err", "exception", "traceback", "tool", "function", "failed to", "unable to")
_WORD_WITHIN: Final = 160
# what `plain_result` or `_MARKED` would look for, in one go: most results hold none of it
_TELLING: Final = re.compile(r'"(?:content"|(?:is_?error|errors?|status)"\s*:)', re.IGNORECASE)
_MARKED: Final = re.compile(r'"(?:is_?error|errors?|status)"\s*:', re.IGNORECASE)


def plain_result(result: str) -> tuple[str, bool]:
    """Return (text, whether it is marked as an error) of a tool's result; LangChain's serialised messages are opened.

    Their envelope holds the id of the call, so that equal results differ in it.
    """
    if result[:1] != "{" or result.find('"content"', 0, _MARKED_WITHIN) < 0 or len(result) > _READ_BYTES:
        return result, False
    message = message_in(decoded(result))
    if message is None:
        return result, False
    content = message.get("content")
    return content if isinstance(content, str) else str(content), message.get("status") == "error"


def message_in(value: object) -> dict[str, object] | None:
    """Return the fields of a LangChain message dump (`{"type", "data"}` or `{"lc", "id", "kwargs"}`), else None."""
    if not isinstance(value, dict):
        return None
    fields = value.get("data") if "type" in value else None
    fields = value.get("kwargs") if "lc" in value else fields
    return fields if isinstance(fields, dict) and "content" in fields else None


def decoded(text: str) -> object:
    """Return what JSON says, or None."""
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return value


def error_text(result: str) -> str | None:
    """Return the error message that a tool's result consists of, or None.

    Text: starts with an error's words. JSON object: `isError` or `is_error` true (MCP), `error` a text, an object or
    true, `errors` a list with something in it, `status` "error". A number under `error` is a measurement.
    """
    if result[:1] == "{" and _TELLING.search(result, 0, _MARKED_WITHIN) is None:
        return None
    result, marked = plain_result(result)
    if marked:
        return result
    head = result[:_MARKED_WITHIN].lstrip()
    if head[:1] == "{":
        marked = _MARKED.search(head) is not None
        return _json_error(result) if marked and len(result) <= _READ_BYTES else None
    start = head[:_WORD_WITHIN].lower()
    return result.strip() if any(word in start for word in _WORDS) and _TEXT.match(head) else None


def _json_error(result: str) -> str | None:
    value = decoded(result)
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, str | dict) and error:
        return _words(error)
    if error is True or value.get("isError") is True or value.get("is_error") is True:
        return _words(value)
    errors = value.get("errors")
    if isinstance(errors, list) and errors:
        return _words(errors[0])
    status = value.get("status")
    return _words(value) if isinstance(status, str) and status.lower() == "error" else None


def _words(error: object) -> str:
    """Return the message of an error object: the first text under the usual names, MCP's content, else all of it."""
    if isinstance(error, str):
        return error
    if isinstance(error, dict):
        for name in ("message", "error_message", "detail", "details", "reason", "result", "content", "text", "title"):
            found = error.get(name)
            if isinstance(found, str) and found:
                return found
            if isinstance(found, list) and found:
                return _words(found[0])
    return msgspec.json.encode(error).decode()
