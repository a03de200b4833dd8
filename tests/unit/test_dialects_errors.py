"""Why spans failed: where the facts are taken from, and what class they make."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.dialects.errors import classify, code_in, split_type, unwrap
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


@pytest.mark.parametrize(
    ("error_type", "code", "message", "expected"),
    [
        # OpenAI
        ("openai.RateLimitError", 429, "{'code': 'insufficient_quota'}", ErrorClass.QUOTA),
        ("openai.NotFoundError", 404, "The model `x` does not exist", ErrorClass.BAD_REQUEST),
        ("openai.PermissionDeniedError", 403, "Country not supported", ErrorClass.AUTH),
        ("openai.LengthFinishReasonError", 0, "Could not parse response content as the length limit", ErrorClass.PARSE),
        # Anthropic
        ("anthropic.APIStatusError", 529, "{'type': 'overloaded_error', 'message': 'Overloaded'}", ErrorClass.SERVER),
        ("", 0, "{'type': 'error', 'error': {'type': 'overloaded_error'}}", ErrorClass.SERVER),
        ("", 0, "{'type': 'authentication_error', 'message': 'invalid x-api-key'}", ErrorClass.AUTH),
        ("", 0, "{'type': 'permission_error'}", ErrorClass.AUTH),
        ("", 0, "{'type': 'rate_limit_error', 'message': 'exceed your rate limit'}", ErrorClass.RATE_LIMIT),
        ("", 0, "{'type': 'api_error', 'message': 'Internal server error'}", ErrorClass.SERVER),
        ("BadRequestError", 400, "prompt is too long: 210000 tokens > 200000 maximum", ErrorClass.CONTEXT_OVERFLOW),
        ("BadRequestError", 400, "Your credit balance is too low to access the API", ErrorClass.QUOTA),
        # Google
        ("google.genai.errors.ClientError", 429, "RESOURCE_EXHAUSTED. Quota exceeded for metric requests per minute",
         ErrorClass.RATE_LIMIT),
        ("google.genai.errors.ServerError", 0, "503 UNAVAILABLE. The model is overloaded.", ErrorClass.SERVER),
        ("", 0, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
         ErrorClass.CONTEXT_OVERFLOW),
        ("", 0, "API key not valid. Please pass a valid API key.", ErrorClass.AUTH),
        ("google.api_core.exceptions.DeadlineExceeded", 0, "504", ErrorClass.TIMEOUT),
        # Bedrock
        ("ThrottlingException", 0, "Too many tokens, please wait before trying again.", ErrorClass.RATE_LIMIT),
        ("ValidationException", 0, "Input is too long for requested model.", ErrorClass.CONTEXT_OVERFLOW),
        ("AccessDeniedException", 0, "You don't have access to the model", ErrorClass.AUTH),
        ("ModelTimeoutException", 0, "", ErrorClass.TIMEOUT),
        ("InternalServerException", 0, "", ErrorClass.SERVER),
        ("ServiceQuotaExceededException", 0, "", ErrorClass.QUOTA),
        ("ExpiredTokenException", 0, "The security token included in the request is expired", ErrorClass.AUTH),
        # Azure
        ("BadRequestError", 400, "filtered due to the prompt triggering Azure OpenAI's content management policy",
         ErrorClass.CONTENT_FILTER),
        ("NotFoundError", 404, "{'code': 'DeploymentNotFound'}", ErrorClass.BAD_REQUEST),
        # LiteLLM
        ("litellm.exceptions.ContextWindowExceededError", 400, "", ErrorClass.CONTEXT_OVERFLOW),
        ("litellm.exceptions.ContentPolicyViolationError", 400, "", ErrorClass.CONTENT_FILTER),
        ("litellm.BudgetExceededError", 0, "Budget has been exceeded!", ErrorClass.QUOTA),
        ("litellm.exceptions.Timeout", 408, "", ErrorClass.TIMEOUT),
        ("litellm.exceptions.APIConnectionError", 0, "", ErrorClass.CONNECTION),
        ("litellm.exceptions.InternalServerError", 500, "OpenAIException - Expecting value: line 1 column 1",
         ErrorClass.PARSE),
        ("litellm.exceptions.JSONSchemaValidationError", 0, "", ErrorClass.PARSE),
        # frameworks
        ("google.adk.agents.LlmCallsLimitExceededError", 0, "Max number of llm calls limit of 5 exceeded",
         ErrorClass.STEP_LIMIT),
        ("pydantic_ai.exceptions.UnexpectedModelBehavior", 0, "Exceeded maximum output retries (1)",
         ErrorClass.STEP_LIMIT),
        ("pydantic_ai.exceptions.ModelServerError", 0, "", ErrorClass.SERVER),
        ("OutputGuardrailTripwireTriggered", 0, "", ErrorClass.CONTENT_FILTER),
        # transports
        ("", 0, "getaddrinfo EAI_AGAIN api.openai.com", ErrorClass.CONNECTION),
        ("", 0, "connect ETIMEDOUT 10.0.0.1:443", ErrorClass.TIMEOUT),
        ("", 4, "", ErrorClass.TIMEOUT),
        ("", 16, "", ErrorClass.AUTH),
    ],
)  # fmt: skip
def test_words_of_providers_and_frameworks_are_known(
    error_type: str, code: int, message: str, expected: ErrorClass
) -> None:
    assert classify(error_type=error_type, status_code=code, message=message) is expected


@pytest.mark.parametrize(
    ("attributes", "code", "expected"),
    [
        ({"http.response.status_code": 429}, 429, ErrorClass.RATE_LIMIT),
        ({"http.status_code": "503"}, 503, ErrorClass.SERVER),
        ({"rpc.grpc.status_code": 14}, 14, ErrorClass.CONNECTION),
        ({"rpc.response.status_code": "DEADLINE_EXCEEDED"}, 4, ErrorClass.TIMEOUT),
        ({"error.code": "401"}, 401, ErrorClass.AUTH),
        ({"db.response.status_code": "57014"}, 57014, ErrorClass.OTHER),
        ({"db.response.status_code": "13"}, 0, ErrorClass.OTHER),
        ({"http.response.status_code": 200}, 0, ErrorClass.OTHER),
    ],
)
def test_codes_are_taken_from_attributes(attributes: dict[str, Any], code: int, expected: ErrorClass) -> None:
    error = read_span(attributes, status=2).error
    assert error is not None
    assert (error.status_code, error.error_class) == (code, expected)


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        ('RateLimitError("Error code: 429 - slow")Traceback (most recent call last):\n  File', "RateLimitError",
         "Error code: 429 - slow"),
        ("ToolException('no such city')\n\nTraceback (most recent call last):", "ToolException", "no such city"),
        ("KeyError('a')", "KeyError", "a"),
        ("openai.APITimeoutError: Request timed out.", "openai.APITimeoutError", "Request timed out."),
        ("the city (Lisbon) is not known", "Exception", "the city (Lisbon) is not known"),
    ],
)  # fmt: skip
def test_what_a_generic_exception_wraps_is_found(message: str, kind: str, words: str) -> None:
    event = ("exception", {"exception.type": "Exception", "exception.message": message})
    error = read_span({}, status=2, events=[event]).error
    assert error is not None
    assert (error.error_type, error.message) == (kind, words)


GENAI, JACKSON = "com.google.genai.errors.", "com.fasterxml.jackson.core.JsonParseException"
RUNTIME, EXECUTION = "java.lang.RuntimeException", "java.util.concurrent.ExecutionException"
SPRING = "org.springframework.web.client.RestClientException"


@pytest.mark.parametrize(
    ("thrown", "message", "kind", "expected"),
    [
        (
            EXECUTION,
            f"{GENAI}ClientException: 429 Too Many Requests.",
            f"{GENAI}ClientException",
            ErrorClass.RATE_LIMIT,
        ),
        (
            RUNTIME,
            f"{EXECUTION}: {GENAI}GenAiIOException: Failed to parse the JSON string.",
            f"{GENAI}GenAiIOException",
            ErrorClass.PARSE,
        ),
        (RUNTIME, f"{JACKSON}: Unrecognized token 'Sure'", JACKSON, ErrorClass.PARSE),
        (SPRING, "Error while extracting response for type [Answer]", SPRING, ErrorClass.PARSE),
        (RUNTIME, "the city is not known", RUNTIME, ErrorClass.OTHER),
    ],
)
def test_what_javas_wrappers_hold_is_found(thrown: str, message: str, kind: str, expected: ErrorClass) -> None:
    event = ("exception", {"exception.type": thrown, "exception.message": message})
    error = read_span({}, status=2, events=[event]).error
    assert error is not None
    assert (error.error_type, error.error_class) == (kind, expected)


@given(st.text(max_size=300), st.integers(-10, 10_000), st.text(max_size=3_000))
def test_nothing_that_is_said_of_an_error_breaks_reading_it(error_type: str, code: int, message: str) -> None:
    assert isinstance(classify(error_type=error_type, status_code=code, message=message), ErrorClass)
    assert 0 <= code_in(message) < 600
    assert split_type(message)[1] in message
    unwrap(error_type, message)


@pytest.mark.parametrize("filler", ["a", "Error", "a.", "(", "'", "rate ", "security token ", "max ", "50"])
def test_reading_an_endless_message_costs_little(filler: str) -> None:
    message = filler * (1_000_000 // len(filler))
    # measured 1 to 15 ms; a quadratic search takes minutes, and the limit of a test's time ends it
    assert classify(error_type=message, status_code=0, message=message) in ErrorClass
    unwrap("Exception", message)
    assert 0 <= code_in(message) < 600


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("langgraph.errors.GraphInterrupt", "(Interrupt(value='approve?'),)"),
        ("Exception", "GraphInterrupt((Interrupt(value='approve?'),))Traceback (most recent call last):"),
        ("Exception", "ParentCommand(Command(goto='billing'))"),
        ("pydantic_ai.exceptions.ApprovalRequired", ""),
    ],
)
def test_a_run_that_waits_for_a_person_or_hands_over_has_not_failed(kind: str, message: str) -> None:
    event = ("exception", {"exception.type": kind, "exception.message": message})
    assert read_span({}, status=2, events=[event]).error is None


def test_zods_issues_are_told_in_words() -> None:
    issues = [
        {"expected": "string", "code": "invalid_type", "path": ["city"], "message": "Invalid input: expected string"},
        {"code": "custom", "path": ["stops", 0], "message": "no such stop"},
    ]
    message = json.dumps(issues, indent=2) + "\n\nTroubleshooting URL: https://docs.langchain.com/"
    error = read_span({}, status=2, events=[("exception", {"exception.message": message})]).error
    assert error is not None
    assert (error.error_type, error.error_class) == ("ZodError", ErrorClass.PARSE)
    assert error.message == "city: Invalid input: expected string; stops.0: no such stop"
    assert unwrap("", '[{"code": 1}]') == ("", '[{"code": 1}]')
    assert unwrap("", '["code", "message"]') == ("", '["code", "message"]')


def test_what_a_run_failed_of_is_taken_out_of_its_steps_words() -> None:
    """OpenAI agents in JavaScript."""
    message = 'Error in agent run: {"error":"ModelBehaviorError: Tool book_hotel not found in agent Traveller."}'
    assert unwrap("", message) == ("ModelBehaviorError", "Tool book_hotel not found in agent Traveller.")
    assert unwrap("", "Error in agent run: {") == ("", "Error in agent run: {")
    assert unwrap("ValueError", message) == ("ValueError", message)


def test_code_that_botocore_has_in_the_place_of_a_type_is_one() -> None:
    message = "An error occurred (429) when calling the InvokeModel operation (reached max retries: 0): "
    assert code_in(message) == 429
    assert code_in("An error occurred (ThrottlingException) when calling the Converse operation") == 0
