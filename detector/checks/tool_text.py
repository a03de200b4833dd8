"""Error text in a tool's result: what a tool says when it fails without failing its span.

Anchored: the result as a whole is an error message, it does not merely speak of errors. A page about exceptions, a log
that was searched, a JSON record with a field named `error` further down are results, not failures. The words stand in
`error_phrases`; what is read here is how clients wrap them: JSON, JSON within JSON, Python's text of a dictionary,
messages of LangChain, parts of MCP, pages of proxies.
"""

import ast
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from detector.checks import error_phrases as phrases

# a longer result is data, unless its framework marks it as an error
_READ_BYTES: Final = 65_536
# an error message, and the fields that mark one, stand at the start; those of a framework may stand at the end
_MARKED_WITHIN: Final = 2_000
_ENDS_WITHIN: Final = 300
# a text's own words of failure stand within
_WORDED_WITHIN: Final = 500
# wrapped once by the client, once by the server, once by the tool
_MAX_DEPTH: Final = 5
_FIRST_PARTS: Final = 3
_LITERAL_CHARACTERS: Final = 20_000
# words under `error` that say that there was none
_NO_ERROR: Final = frozenset(
    {"", "none", "null", "nil", "no", "false", "0", "ok", "n/a", "success", "-", "no error", "no errors"}
)
_ERRORS: Final = (
    "error", "exception", "error_message", "errormessage", "error_msg", "errormsg", "error_description", "fault",
)  # fmt: skip
# Composio wrote the last
_SUCCEEDED: Final = ("success", "ok", "succeeded", "successful", "successfull")
_HTTP_CODES: Final = ("status", "statuscode", "status_code", "http_status", "code", "cod")
_EXIT_CODES: Final = ("exit_code", "exitcode", "returncode", "return_code")
# an object without any of these tells nothing
_NEWS: Final = frozenset((*_SUCCEEDED, *_HTTP_CODES, *_EXIT_CODES, "type", "kind", "__type"))
_VERCEL_ERRORS: Final = ("error-text", "error-json")
_FAILED: Final = frozenset({"error", "failed", "failure", "fail", "errored"})
# fields in which an answer holds nothing but its text
_WRAPPERS_TEXT: Final = "result output response content text observation return_value message toolresult tool_result"
_WRAPPERS: Final = frozenset(_WRAPPERS_TEXT.split())
_SPOKEN_TEXT: Final = """
    message error_message errormessage errormsg error_msg detail details reason error_description faultstring
    description result content text title msg body stderr
"""
_SPOKEN: Final = tuple(_SPOKEN_TEXT.split())
# what may stand beside a status in an answer that is nothing but the news of a failure; a record has other fields too
_ENVELOPE_TEXT: Final = """
    error errors code status statuscode status_code http_status success ok type data errortype error_type error_code
    errorcode name instance path timestamp time request_id requestid trace traceback stack stacktrace stack_trace
    tooluseid tool_use_id tool_call_id tool hint help suggestion retryable retry_after is_error iserror exception info
    documentation_url cause __type fault response output exit_code exitcode returncode return_code stderr stdout cod
    kind body headers isbase64encoded successful successfull command duration duration_ms
"""
_ENVELOPE: Final = frozenset((*_SPOKEN, *_ENVELOPE_TEXT.split()))
_CODE: Final = re.compile(rf"[45]\d\d|ERR_\w{{3,40}}|{phrases.ERRNO}")
# Python's text of a dictionary with an exception in it
_THROWN: Final = re.compile(r"""\s*\{\s*['"](?:error|exception)['"]:\s*\w{0,60}(?:Error|Exception)\(""")
# how Pydantic AI ends what it hands back to a model
_ASKS_AGAIN: Final = "Fix the errors and try again."
# a checker's own findings: its errors are what it was asked for
_VERDICTS: Final = frozenset({"valid", "is_valid", "isvalid", "passed", "warnings", "score", "tests", "summary"})


def plain_result(result: str) -> tuple[str, bool]:
    """Return (text, whether it is marked as an error) of a tool's result; LangChain's serialised messages are opened.

    Their envelope holds the id of the call, so that equal results differ in it.
    """
    if result[:1] != "{" or result.find('"content"', 0, _MARKED_WITHIN) < 0:
        return result, False
    if len(result) > _READ_BYTES and not _has_mark(result):
        return result, False
    if '"data"' not in (head := result[:_MARKED_WITHIN]) and '"kwargs"' not in head:
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

    Text: it starts with an error's words (`error_phrases`); those that an article may start with count in short texts.
    JSON object: `isError` or `is_error` true (MCP), `error` a text, an object or true, `errors` with something in it;
    `status` "error" or "failed", `success` false, or an HTTP code from 400 on, with nothing beside it but words about
    the failure. A number under `error` is a measurement. JSON in JSON, Python's text of a dictionary, LangChain's
    messages, MCP's parts and Python's text of its results are opened. Beyond 64 KB JSON is opened where it is marked at
    its beginning or end.
    """
    return _error_in(result, 0)


def is_about_errors(result: str, said: str, *, tool: str, arguments: str = "") -> bool:
    """Return whether the error in a tool's result is what the tool was asked for, rather than its own failure.

    `said` is what `error_text` found in it. Tools that bring logs, errors or the findings of a check fail where that is
    marked, or worded by their framework; tools that bring texts of others fail in few words.
    """
    name = _snake(tool)
    if phrases.ABOUT_ERRORS.search(name) or phrases.ABOUT_ERRORS_IN.search(arguments, 0, _MARKED_WITHIN):
        return phrases.OF_FRAMEWORK.match(said) is None and not _is_marked(result)
    if phrases.JUDGES.search(name) and phrases.VERDICT.search(result, 0, _MARKED_WITHIN):
        return not _is_marked(result)
    if len(said) <= phrases.SHORT_CHARACTERS or not phrases.BRINGS_TEXTS.search(name) or said.startswith("Traceback"):
        return False
    if phrases.HEADLINE.match(said) is None:
        return False
    return not _is_marked(result) and _ERROR_FIELD.search(result, 0, _MARKED_WITHIN) is None


_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SIGN: Final = re.compile(r"[\W_]+")
_ERROR_FIELD: Final = re.compile(r"""["'](?:errors?|exception|error_?message)["']\s*:""", re.IGNORECASE)
_FLAG: Final = r"\bis_?error=true\b"
_MARK: Final = re.compile(
    r"""["'](?:is_?error["']\s*:\s*true|status["']\s*:\s*["']error)|<tool_use_error>|\bstatus='error'"""
    rf"|{_FLAG}",
    re.IGNORECASE,
)
# Python's text of MCP's result: of its SDK, which writes the name of the class only with `repr`, and of FastMCP
_MCP: Final = re.compile(r"(?:CallToolResult\()?(?:meta=[^\s,]{1,80},? )?content=\[")
# the text of a message of LangChain, and of AutoGen's
_WRITTEN: Final = re.compile(r"(FunctionExecutionResult\()?content=(['\"])")
_MCP_FAILED: Final = re.compile(_FLAG, re.IGNORECASE)
_MCP_TEXT: Final = re.compile(r"\btext=(['\"])(.+?)\1[,)]", re.DOTALL)


def _snake(name: str) -> str:
    return _SIGN.sub("_", _CAMEL.sub("_", name)).lower()


def _is_marked(result: str) -> bool:
    """Return whether a framework, not the tool's own text, says that the call failed."""
    return _has_mark(result) or plain_result(result)[1]


def _has_mark(result: str) -> bool:
    end = result[max(_MARKED_WITHIN, len(result) - _ENDS_WITHIN) :]
    return _MARK.search(result, 0, _MARKED_WITHIN) is not None or _MARK.search(end) is not None


def _error_in(result: str, depth: int) -> str | None:
    result, marked = plain_result(result)
    if marked:
        return result
    head = result[:_MARKED_WITHIN].lstrip()
    first = head[:1]
    # "[Errno 2] No such file" is no list
    if first in ("{", '"') or (first == "[" and not head[1:2].isalpha()):
        if len(result) > _READ_BYTES:
            may_tell = first == "{" and _has_mark(result)
        elif first == "{" and _THROWN.match(head):
            return result
        else:
            may_tell = first == '"' or phrases.may_tell_in_json(head)
            may_tell = may_tell or (len(result) > _MARKED_WITHIN and _has_mark(result))
        return _value_error(_read(result), depth) if may_tell else None
    if result[-_ENDS_WITHIN:].rstrip().endswith(_ASKS_AGAIN):
        return result.strip()
    if first in ("m", "c", "C") and _MCP.match(head):
        if not _MCP_FAILED.search(result[-_ENDS_WITHIN:]):
            return None
        text = _MCP_TEXT.search(result, 0, _READ_BYTES)
        return text[2] if text is not None else result
    if first in ("c", "F") and (written := _WRITTEN.match(head)) is not None:
        separator = f"{written[2]}{',' if written[1] else ''} name="
        inner, _, rest = result.partition(written[0])[2].rpartition(separator)
        if "status='error'" in rest or "is_error=True" in rest:
            return inner
        return _error_in(inner, depth + 1) if inner and depth < _MAX_DEPTH else None
    if len(result) > phrases.WALL_CHARACTERS:
        head = head[:_WORDED_WITHIN]
    may_begin, may_hold = phrases.may_tell(head)
    if not (may_begin or may_hold):
        return None
    wall = phrases.WALL.search(head) if may_hold and len(result) <= phrases.WALL_CHARACTERS else None
    if wall is not None:
        return wall[0].strip()
    if phrases.SURE.match(head) or (len(result) <= phrases.SHORT_CHARACTERS and phrases.SHORT.match(head)):
        return result.strip()
    if first == "<" and phrases.PAGE.match(head) and len(result) <= phrases.PAGE_CHARACTERS:
        title = phrases.TITLE.search(result, 0, _MARKED_WITHIN)
        return title[1] if title is not None and phrases.BARE.fullmatch(title[1]) else None
    return result.strip() if len(result) <= phrases.BARE_CHARACTERS and phrases.BARE.fullmatch(result.strip()) else None


def _read(text: str) -> object:
    """Return what JSON says, or Python's text of a dictionary or list; else None."""
    value = decoded(text)
    if value is None and "'" in text and len(text) <= _LITERAL_CHARACTERS:
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None
    return value


def _value_error(value: object, depth: int) -> str | None:
    if depth >= _MAX_DEPTH:
        return None
    if isinstance(value, str):
        return _error_in(value, depth + 1)
    if isinstance(value, list):
        return _parts_error(value, depth)
    if not isinstance(value, dict):
        return None
    fields = {name.lower(): each for name, each in value.items() if isinstance(name, str)}
    if len(fields) == 1:
        ((name, inner),) = fields.items()
        if name in _WRAPPERS and isinstance(inner, str | list | dict):
            return _value_error(inner, depth + 1)
        # FastAPI and Django REST framework
        if name == "detail" and _is_detail(inner):
            return _words(inner)
    return _object_error(value, fields)


def _object_error(value: dict[str, object], fields: dict[str, object]) -> str | None:
    if fields.get("type") in _VERCEL_ERRORS and "value" in fields:
        return _words(fields["value"])
    if any(fields.get(name) is True for name in ("iserror", "is_error")):
        return _words(value)
    for name in _ERRORS:
        error = fields.get(name)
        if _is_error(error):
            return _words(error)
        if error is True:
            return _words(value)
    errors = fields.get("errors")
    if isinstance(errors, list | dict | str) and errors and _VERDICTS.isdisjoint(fields):
        return _words(errors)
    return _words(value) if _tells_failure(fields) else None


def _is_detail(detail: object) -> bool:
    if isinstance(detail, list):
        return any(isinstance(each, dict) and "msg" in each for each in detail)
    return isinstance(detail, str) and bool(detail)


def _is_error(error: object) -> bool:
    if isinstance(error, str):
        return error.strip(" .!").lower() not in _NO_ERROR
    if isinstance(error, dict):
        said = [each for name, each in error.items() if name not in ("type", "name")]
        return any(
            each not in (None, "", 0, "0", False, [], {}) and str(each).lower() not in _NO_ERROR for each in said
        )
    return isinstance(error, list) and len(error) > 0


def _tells_failure(fields: dict[str, object]) -> bool:
    """Return whether an object says that a call failed, and holds nothing but that news."""
    if _NEWS.isdisjoint(fields):
        return False
    beside = [name for name, each in fields.items() if name not in _ENVELOPE and each not in (None, "", [], {})]
    if beside:
        return False
    status = fields.get("status")
    if isinstance(status, str) and status.lower() in _FAILED:
        return True
    if _has_exited(fields):
        return True
    if not any(isinstance(fields.get(name), str) and fields[name] for name in (*_SPOKEN, "error")):
        return False
    if any(fields.get(name) is False for name in _SUCCEEDED):
        return True
    if fields.get("type") == "error" or fields.get("kind") == "error":
        return True
    if "__type" in fields:  # AWS
        return True
    return any(_is_failure(fields.get(name)) for name in _HTTP_CODES)


def _is_failure(code: object) -> bool:
    """Return whether it is an HTTP status of failure, as a number or as text, or a code of Node's (ENOENT)."""
    if isinstance(code, str):
        return _CODE.fullmatch(code) is not None
    return isinstance(code, int) and 400 <= code < 600


def _has_exited(fields: Mapping[str, object]) -> bool:
    """Return whether a program ended with a code of failure and nothing to show but what it complained of."""
    codes = [fields.get(name) for name in _EXIT_CODES]
    if not any(type(code) is int and code != 0 for code in codes) or fields.get("stdout"):
        return False
    complaint = fields.get("stderr")
    return isinstance(complaint, str) and bool(complaint.strip())


def _parts_error(parts: list[object], depth: int) -> str | None:
    """Return the error in MCP's parts of text: `[{"type": "text", "text": "Error: …"}]`."""
    if len(parts) == 1 and isinstance(parts[0], dict) and (parts[0].get("is_error") or parts[0].get("isError")) is True:
        return _words(parts[0])
    if not 0 < len(parts) <= _FIRST_PARTS or not all(isinstance(part, dict) and "text" in part for part in parts):
        return None
    text = parts[0].get("text") if isinstance(parts[0], dict) else None
    return _error_in(text, depth + 1) if isinstance(text, str) else None


def _words(error: object) -> str:
    """Return the message of an error object: the first text under the usual names, MCP's content, else all of it."""
    if isinstance(error, str):
        return error
    if isinstance(error, list) and error:
        return _words(error[0])
    if isinstance(error, dict):
        for name in _SPOKEN:
            found = error.get(name)
            if isinstance(found, str) and found:
                return found
            if isinstance(found, list) and found:
                return _words(found[0])
        for name in ("errorMessage", "errorMsg", "error", "exception", "Message", "errors"):
            found = error.get(name)
            if isinstance(found, str | dict | list) and found:
                return _words(found)
    return msgspec.json.encode(error).decode()
