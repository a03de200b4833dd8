"""Why a call failed, in the words of many clients; and what tools say of their own trade, which is none of these."""

import pytest

from core.dialects.errors import classify, code_in
from core.model.span import ErrorClass

MESSAGES = [
    (
        ErrorClass.RATE_LIMIT,
        "",
        "Error code: 429 - {'error': {'message': 'Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000', 'type': 'tokens', 'code': 'rate_limit_exceeded'}}",
    ),
    (
        ErrorClass.QUOTA,
        "",
        "Error code: 429 - {'error': {'message': 'You exceeded your current quota, please check your plan and billing details.', 'code': 'insufficient_quota'}}",
    ),
    (
        ErrorClass.RATE_LIMIT,
        "ThrottlingException",
        "An error occurred (ThrottlingException) when calling the Converse operation (reached max retries: 4): Too many tokens, please wait before trying again.",
    ),
    (ErrorClass.RATE_LIMIT, "", "Too many requests, please slow down"),
    (
        ErrorClass.RATE_LIMIT,
        "google.genai.errors.ClientError",
        "429 RESOURCE_EXHAUSTED. {'error': {'code': 429, 'message': 'Resource has been exhausted (e.g. check quota).', 'status': 'RESOURCE_EXHAUSTED'}}",
    ),
    (
        ErrorClass.RATE_LIMIT,
        "",
        "429 You exceeded your current quota, please check your plan and billing details. Quota exceeded for metric: generate_content_free_tier_requests, limit: 10. Please retry in 20.1s.",
    ),
    (
        ErrorClass.SERVER,
        "anthropic.APIStatusError",
        "Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'Overloaded'}}",
    ),
    (
        ErrorClass.AUTH,
        "anthropic.AuthenticationError",
        "Error code: 401 - {'type': 'error', 'error': {'type': 'authentication_error', 'message': 'invalid x-api-key'}}",
    ),
    (
        ErrorClass.QUOTA,
        "anthropic.BadRequestError",
        "Error code: 400 - {'type': 'error', 'error': {'type': 'invalid_request_error', 'message': 'Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.'}}",
    ),
    (
        ErrorClass.CONTEXT_OVERFLOW,
        "anthropic.BadRequestError",
        "Error code: 400 - {'type': 'error', 'error': {'type': 'invalid_request_error', 'message': 'prompt is too long: 213462 tokens > 200000 maximum'}}",
    ),
    (
        ErrorClass.CONTEXT_OVERFLOW,
        "",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130021 tokens.",
    ),
    (
        ErrorClass.CONTEXT_OVERFLOW,
        "",
        "400 INVALID_ARGUMENT. {'error': {'code': 400, 'message': 'The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).'}}",
    ),
    (
        ErrorClass.CONTEXT_OVERFLOW,
        "ValidationException",
        "An error occurred (ValidationException) when calling the InvokeModel operation: Input is too long for requested model.",
    ),
    (
        ErrorClass.CONTEXT_OVERFLOW,
        "",
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5012",
    ),
    (ErrorClass.CONTEXT_OVERFLOW, "", "Requested tokens (5000) exceed context window of 4096"),
    (
        ErrorClass.AUTH,
        "AccessDeniedException",
        "An error occurred (AccessDeniedException) when calling the InvokeModel operation: You don't have access to the model with the specified model ID.",
    ),
    (ErrorClass.AUTH, "", "403 Client Error: Forbidden for url: https://api.x.test"),
    (ErrorClass.AUTH, "", "API key not valid. Please pass a valid API key."),
    (
        ErrorClass.AUTH,
        "",
        "The api_key client option must be set either by passing api_key to the client or by setting the OPENAI_API_KEY environment variable",
    ),
    (ErrorClass.AUTH, "NoCredentialsError", "Unable to locate credentials"),
    (
        ErrorClass.AUTH,
        "",
        "Could not load the default credentials. Browse to https://cloud.google.com/docs/authentication",
    ),
    (ErrorClass.AUTH, "google.auth.exceptions.DefaultCredentialsError", "Your default credentials were not found."),
    (ErrorClass.AUTH, "", 'password authentication failed for user "app"'),
    (ErrorClass.AUTH, "redis.exceptions.AuthenticationError", "NOAUTH Authentication required."),
    (ErrorClass.AUTH, "", "Invalid authentication credentials"),
    (ErrorClass.AUTH, "", "token has expired"),
    (ErrorClass.TIMEOUT, "httpx.ReadTimeout", ""),
    (ErrorClass.TIMEOUT, "", "HTTPSConnectionPool(host='x', port=443): Read timed out. (read timeout=10)"),
    (ErrorClass.TIMEOUT, "asyncio.TimeoutError", ""),
    (ErrorClass.TIMEOUT, "", "504 Deadline Exceeded"),
    (ErrorClass.TIMEOUT, "", "Function execution timed out after 30 seconds"),
    (ErrorClass.TIMEOUT, "", "upstream request timeout"),
    (ErrorClass.TIMEOUT, "", "canceling statement due to statement timeout"),
    (ErrorClass.TIMEOUT, "playwright._impl._errors.TimeoutError", "Page.goto: Timeout 30000ms exceeded."),
    (ErrorClass.TIMEOUT, "", "operation was aborted due to timeout"),
    (ErrorClass.CONNECTION, "httpx.ConnectError", "[Errno 111] Connection refused"),
    (
        ErrorClass.CONNECTION,
        "",
        "HTTPSConnectionPool(host='x', port=443): Max retries exceeded with url: / (Caused by NewConnectionError('<urllib3.connection.HTTPSConnection object at 0x7f>: Failed to establish a new connection: [Errno -2] Name or service not known'))",
    ),
    (
        ErrorClass.CONNECTION,
        "aiohttp.client_exceptions.ClientConnectorError",
        "Cannot connect to host x:443 ssl:default [Connect call failed ('1.2.3.4', 443)]",
    ),
    (ErrorClass.CONNECTION, "", "connect ECONNREFUSED 127.0.0.1:11434"),
    (ErrorClass.CONNECTION, "", "net::ERR_CONNECTION_REFUSED at http://x"),
    (ErrorClass.CONNECTION, "", "net::ERR_NAME_NOT_RESOLVED"),
    (ErrorClass.CONNECTION, "psycopg.OperationalError", "connection failed: server closed the connection unexpectedly"),
    (
        ErrorClass.CONNECTION,
        "grpc._channel._InactiveRpcError",
        '<_InactiveRpcError of RPC that terminated with:\n\tstatus = StatusCode.UNAVAILABLE\n\tdetails = "failed to connect to all addresses"',
    ),
    (ErrorClass.CONNECTION, "", "Temporary failure in name resolution"),
    (ErrorClass.CONNECTION, "", "error:0A000086:SSL routines::certificate verify failed"),
    (ErrorClass.CONNECTION, "", "Remote end closed connection without response"),
    (ErrorClass.CONNECTION, "", "Error 111 connecting to localhost:6379. Connection refused."),
    (ErrorClass.SERVER, "", "502 Bad Gateway"),
    (ErrorClass.SERVER, "", "<html><head><title>503 Service Temporarily Unavailable</title></head></html>"),
    (ErrorClass.SERVER, "", "500 Internal Server Error"),
    (ErrorClass.SERVER, "ModelNotReadyException", "Model is not ready for inference"),
    (ErrorClass.SERVER, "", "The model is currently overloaded. Please try again later."),
    (ErrorClass.SERVER, "", "upstream connect error or disconnect/reset before headers. reset reason: overflow"),
    (ErrorClass.SERVER, "", "no healthy upstream"),
    (ErrorClass.SERVER, "google.api_core.exceptions.InternalServerError", "500 Internal error encountered."),
    (ErrorClass.PARSE, "json.decoder.JSONDecodeError", "Expecting value: line 1 column 1 (char 0)"),
    (ErrorClass.PARSE, "langchain_core.exceptions.OutputParserException", "Could not parse LLM output: `I now know`"),
    (ErrorClass.PARSE, "", "Unexpected token < in JSON at position 0"),
    (
        ErrorClass.PARSE,
        "pydantic_core._pydantic_core.ValidationError",
        "1 validation error for Answer\n  Invalid JSON: expected value at line 1 column 1",
    ),
    (
        ErrorClass.CONTENT_FILTER,
        "",
        "Error code: 400 - {'error': {'message': \"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.\", 'code': 'content_filter'}}",
    ),
    (ErrorClass.CONTENT_FILTER, "", "Output blocked by content filtering policy"),
    (
        ErrorClass.CONTENT_FILTER,
        "",
        "The prompt could not be submitted. This prompt contains sensitive words that violate Google's Responsible AI practices.",
    ),
    (
        ErrorClass.STEP_LIMIT,
        "langgraph.errors.GraphRecursionError",
        "Recursion limit of 25 reached without hitting a stop condition.",
    ),
    (ErrorClass.STEP_LIMIT, "", "Reached max steps."),
    (ErrorClass.STEP_LIMIT, "", "Agent reached maximum number of turns (10)"),
    (ErrorClass.CANCELLED, "asyncio.CancelledError", ""),
    (ErrorClass.CANCELLED, "", "The operation was canceled by the user"),
    (
        ErrorClass.BAD_REQUEST,
        "",
        "Error code: 404 - {'error': {'message': 'The model `gpt-9` does not exist', 'code': 'model_not_found'}}",
    ),
    (
        ErrorClass.BAD_REQUEST,
        "ResourceNotFoundException",
        "Could not resolve the foundation model from the provided model identifier.",
    ),
    (ErrorClass.BAD_REQUEST, "", "Error code: 422 - Unprocessable Entity"),
    (ErrorClass.BAD_REQUEST, "", "400 Client Error: Bad Request for url: https://x"),
    (ErrorClass.OTHER, "ValueError", "billing address does not match"),
    (ErrorClass.OTHER, "KeyError", "'price'"),
    (ErrorClass.OTHER, "ValueError", "unable to parse date: 2024-13-01"),
    (ErrorClass.OTHER, "", "not enough seats on flight HAT290"),
    (ErrorClass.OTHER, "", "the connection flight does not exist"),
    (
        ErrorClass.CONTEXT_OVERFLOW,
        "",
        "the request exceeds the available context size. try increasing the context size",
    ),
    (
        ErrorClass.CONTEXT_OVERFLOW,
        "",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
    ),
    (
        ErrorClass.CONTEXT_OVERFLOW,
        "",
        "This model's maximum prompt length is 131072 but the request contains 500000 tokens.",
    ),
    (ErrorClass.RATE_LIMIT, "google.api_core.exceptions.ResourceExhausted", "429 Resource has been exhausted"),
    (ErrorClass.AUTH, "", "You don't have access to the model with the specified model ID."),
    (ErrorClass.CONNECTION, "java.net.UnknownHostException", "api.openai.com"),
    (ErrorClass.CONTENT_FILTER, "anthropic.BadRequestError", "Output blocked by content filtering policy"),
    (ErrorClass.CONTENT_FILTER, "", "Guardrail intervened"),
    (
        ErrorClass.QUOTA,
        "",
        "This request requires more credits, or fewer max_tokens. You requested up to 4096, but can only afford 100.",
    ),
    (ErrorClass.OTHER, "", "insufficient funds on account 12"),
    (ErrorClass.OTHER, "", "we don't have access to the modelling room"),
    (ErrorClass.OTHER, "", "payment method not found"),
    (ErrorClass.OTHER, "", "order cannot be cancelled"),
    (ErrorClass.OTHER, "", "reservation was cancelled"),
    (ErrorClass.OTHER, "ValueError", "policy 12 not found"),
    (ErrorClass.OTHER, "", "step limit of stairs"),
    (ErrorClass.OTHER, "", "class is at capacity"),
    (ErrorClass.OTHER, "", "this is a forbidden city ticket"),
    (ErrorClass.OTHER, "", "user does not exist"),
    (ErrorClass.OTHER, "", "flight timeout=30 is not a number"),
]


@pytest.mark.parametrize(("expected", "error_type", "message"), MESSAGES, ids=[m[1] or m[2][:60] for m in MESSAGES])
def test_a_message_has_the_class_that_a_person_would_give_it(
    expected: ErrorClass, error_type: str, message: str
) -> None:
    assert classify(error_type=error_type, status_code=code_in(message), message=message) is expected
