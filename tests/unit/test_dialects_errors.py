"""Why spans failed: where the facts are taken from, and what class they make."""

import pytest

from core.dialects.errors import classify, code_in, split_type
from core.model.span import ErrorClass
from tests.unit.dialect_spans import read_span


def test_exception_event_is_believed_before_everything_else() -> None:
    event = ("exception", {"exception.type": "openai.RateLimitError", "exception.message": "Error code: 429 - slow"})
    span = read_span({"error.type": "other"}, status=2, message="ValueError: no", events=[event])
    assert span.error is not None
    assert (span.error.error_type, span.error.message) == ("openai.RateLimitError", "Error code: 429 - slow")
    assert (span.error.status_code, span.error.error_class) == (429, ErrorClass.RATE_LIMIT)


def test_last_exception_is_the_one_that_ended_the_span() -> None:
    events = [("exception", {"exception.type": "A"}), ("exception", {"exception.type": "B"})]
    error = read_span({}, status=2, events=events).error
    assert error is not None
    assert error.error_type == "B"


def test_error_type_attribute_comes_before_the_status_text() -> None:
    error = read_span({"error.type": "APITimeoutError"}, status=2, message="Request timed out.").error
    assert error is not None
    assert (error.error_type, error.message) == ("APITimeoutError", "Request timed out.")
    assert error.error_class is ErrorClass.TIMEOUT


def test_type_is_split_off_the_status_text() -> None:
    error = read_span({}, status=2, message="ValueError: bad city").error
    assert error is not None
    assert (error.error_type, error.message) == ("ValueError", "bad city")


def test_exception_on_a_span_that_ended_ok_is_no_error() -> None:
    event = ("exception", {"exception.type": "A"})
    assert read_span({}, status=1, events=[event]).error is None
    assert read_span({}, status=0, events=[event]).error is not None
    assert read_span({"error.type": "A"}, status=0).error is None


def test_error_type_that_is_a_code_is_a_code() -> None:
    error = read_span({"error.type": "503"}, status=2).error
    assert error is not None
    assert (error.status_code, error.error_class) == (503, ErrorClass.SERVER)


@pytest.mark.parametrize(
    ("error_type", "code", "message", "expected"),
    [
        ("RateLimitError", 429, "Rate limit reached for gpt-4o-mini", ErrorClass.RATE_LIMIT),
        ("RateLimitError", 429, "You exceeded your current quota, please check your plan", ErrorClass.QUOTA),
        ("", 0, "Error code: 429 - {'type': 'insufficient_quota'}", ErrorClass.QUOTA),
        ("BadRequestError", 400, "This model's maximum context length is 128000 tokens.", ErrorClass.CONTEXT_OVERFLOW),
        ("AI_APICallError", 0, "This model's maximum context length is 128000", ErrorClass.CONTEXT_OVERFLOW),
        ("AI_APICallError", 0, "The server had an error while processing your request.", ErrorClass.SERVER),
        ("AI_APICallError", 0, "Incorrect API key provided: sk-xxxx", ErrorClass.AUTH),
        ("AI_RetryError", 0, "Failed after 2 attempts. Last error: Rate limit reached", ErrorClass.RATE_LIMIT),
        ("openai.InternalServerError", 503, "<html>Service Unavailable</html>", ErrorClass.SERVER),
        ("", 0, "<html><body>Service Unavailable</body></html>", ErrorClass.SERVER),
        ("APITimeoutError", 0, "Request timed out.", ErrorClass.TIMEOUT),
        ("APIConnectionError", 0, "Connection error.", ErrorClass.CONNECTION),
        ("httpx.RemoteProtocolError", 0, "peer closed connection", ErrorClass.CONNECTION),
        ("AuthenticationError", 401, "", ErrorClass.AUTH),
        ("langgraph.errors.GraphRecursionError", 0, "Recursion limit of 5 reached", ErrorClass.STEP_LIMIT),
        ("pydantic_ai.exceptions.UsageLimitExceeded", 0, "would exceed the request_limit of 3", ErrorClass.STEP_LIMIT),
        ("json.decoder.JSONDecodeError", 0, "Expecting value: line 1 column 1 (char 0)", ErrorClass.PARSE),
        ("", 0, "Expecting value: line 1 column 1 (char 0)", ErrorClass.PARSE),
        ("ContentFilterError", 0, "Content filter triggered.", ErrorClass.CONTENT_FILTER),
        ("BadRequestError", 400, "Invalid prompt: flagged as violating our usage policy", ErrorClass.CONTENT_FILTER),
        ("BadRequestError", 400, "Unknown parameter: 'foo'", ErrorClass.BAD_REQUEST),
        ("requests.exceptions.HTTPError", 404, "404 Client Error: Not Found", ErrorClass.BAD_REQUEST),
        ("asyncio.exceptions.CancelledError", 0, "", ErrorClass.CANCELLED),
        ("", 14, "failed to connect to all addresses", ErrorClass.CONNECTION),
        ("", 8, "quota of requests", ErrorClass.RATE_LIMIT),
        ("ModuleNotFoundError", 0, "No module named 'mcp'", ErrorClass.OTHER),
        ("FileNotFoundError", 0, "[Errno 2] No such file", ErrorClass.OTHER),
        ("TypeError", 0, "PageDownTool.forward() got an unexpected keyword argument ''", ErrorClass.OTHER),
    ],
)
def test_errors_are_classified(error_type: str, code: int, message: str, expected: ErrorClass) -> None:
    assert classify(error_type=error_type, status_code=code, message=message) is expected


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("Error code: 429 - {}", 429),
        ("status_code: 503, model_name: x", 503),
        ("backend returned HTTP 503: upstream", 503),
        ("404 Client Error: Not Found for url", 404),
        ("Used 429 tokens", 0),
        ("HTTP 200", 0),
    ],
)
def test_codes_are_found_only_where_the_text_says_code(message: str, code: int) -> None:
    assert code_in(message) == code


def test_text_that_only_looks_like_a_type_is_left_whole() -> None:
    assert split_type("note: this is fine") == ("", "note: this is fine")
    assert split_type("a.b.CustomException: x: y") == ("a.b.CustomException", "x: y")
