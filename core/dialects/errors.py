"""Why a call failed, from its error type, code and text; providers' plain words included."""

import functools
import json
import re
from typing import Any, Final

from core.dialects.phrases import Phrases, folded
from core.model.span import ErrorClass

_CONTEXT = Phrases(
    r"context[_ ]?(?:length|window)[_ ]?(?:exceeded|limit)?|maximum context length|prompt is too long|too many tokens"
    r"|input (?:is )?too long|exceeds? the (?:model'?s? )?(?:maximum )?(?:context|token)|ContextWindowExceeded"
    r"|ContextOverflow|context window|exceeds the maximum number of (?:input )?tokens|request_too_large"
    r"|input length and `?max_tokens`? exceed|reduce the length of the (?:messages|prompt)"
    # llama.cpp, xAI, Hugging Face's text-generation-inference
    r"|available context size|maximum prompt length|`inputs` tokens \+ `max_new_tokens` must be",
)
_QUOTA = Phrases(
    r"insufficient[_ ]quota|exceeded your current quota|billing[_ ](?:hard|details|not|account|must|disabled|has)"
    r"|requires billing|billing (?:to|must) be enabled|credit balance|out of credits|spending limit"
    r"|quota[_ ]?exceeded|payment required|BudgetExceeded|budget has been exceeded|hit your usage limit"
    r"|requires more credits|insufficient credits",
)
# Google calls its rate limits quotas
_PER_TIME = re.compile(r"per[ _-]?(?:minute|second|min\b)|please retry in \d", re.IGNORECASE)
_RATE = Phrases(
    r"rate[_ -]?limit|too many requests|RESOURCE_EXHAUSTED|ResourceExhausted|resource (?:has been )?exhausted|throttl"
    r"|TooManyRequests"
)
_THROTTLED = re.compile("throttl", re.IGNORECASE)
_STEPS = Phrases(
    r"GraphRecursionError|MaxTurnsExceeded|UsageLimitExceeded|AgentMaxStepsError|max(?:imum)?[_ ](?:number of )?"
    r"(?:tool call )?(?:steps|turns|iterations)|recursion limit of|EventLoopMaxTurns|MaxIterations"
    r"|LlmCallsLimitExceeded|exceeded max(?:imum)? (?:output )?retries|stopped due to (?:iteration|time) limit",
)
_FILTER = Phrases(
    r"content[_ ]?filter|content[_ ]?policy|ContentPolicyViolation|responsible ?ai|usage polic|safety (?:system|filter)"
    r"|PROHIBITED_CONTENT|Tripwire|invalid_prompt|content management policy|GuardrailRaised|BlockedPiiEntity"
    r"|blocked by (?:the )?(?:guardrail|safety)|violated guardrail|guardrail[_ ]intervened",
)
_AUTH = Phrases(
    r"AuthenticationError|PermissionDenied|invalid[_ ]api[_ ]key|incorrect api key|unauthori[sz]ed|UNAUTHENTICATED"
    r"|PERMISSION_DENIED|(?-i:\b(?:Forbidden|FORBIDDEN)\b)|\A\s*forbidden\b|access (?:is )?forbidden|invalid x-api-key"
    r"|access ?denied|authentication_error|permission_error|LoadAPIKey|API_KEY_INVALID"
    r"|api[_ ]key (?:is missing|not valid|must be set|client option must be set)|UnrecognizedClient|ExpiredToken"
    r"|(?:locate|load|find|default) (?:\w+ ){0,2}credentials|CredentialsError|Credentials (?:were |was )?not found"
    r"|password authentication failed|NOAUTH|invalid (?:authentication )?credentials|token (?:has |is )?expired"
    r"|security token .{0,40}(?:invalid|expired)|not authorized to perform|could not resolve authentication"
    r"|don't have access to the model\b",
)
# "order cannot be cancelled" is what a tool says of its own trade
_CANCELLED = Phrases(
    r"CancelledError|AbortError|GeneratorExit|KeyboardInterrupt|\baborted\b|\bCANCELLED\b|\A\W*[Cc]ancell?ed\b"
    r"|\b[Cc]ancell?ed by\b|\b(?i:request|operation|call|task|stream|run|execution|query|statement|context|rpc|job|tool"
    r"|turn|step)(?: (?:was|is|has been|got))? cancell?ed",
    flags=re.NOFLAG,
)
_TIMEOUT = Phrases(
    r"Timeout(?!\s*=)|timed[ -]?out|time limit exceeded|DEADLINE_EXCEEDED|DeadlineExceeded|deadline exceeded",
)
_CONNECTION = Phrases(
    r"ConnectionError|ConnectError|APIConnection|connection (?:refused|reset|error|aborted|closed)|ECONNREFUSED"
    r"|ECONNRESET|\bENOTFOUND\b|name or service not known|getaddrinfo|RemoteProtocolError|network is unreachable"
    r"|cannot connect to|socket hang up|fetch failed|(?-i:\bUNAVAILABLE\b)|ServerDisconnected|incomplete chunked read"
    r"|peer closed connection|failed to connect|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|\bEPIPE\b|certificate verify failed"
    r"|ReadError\b|other side closed|broken pipe|no route to host|ERR_(?:CONNECTION|NAME_NOT|INTERNET|NETWORK|ADDRESS)"
    r"|server closed the connection|name resolution|end closed connection|failed to establish a new connection"
    r"|UnknownHostException|NoRouteToHostException",
)
# said beside UNAVAILABLE by Google, and with Anthropic's code 529: the provider is there, and busy
_OVERLOADED = Phrases(
    r"overloaded|model is (?:currently )?(?:busy|loading)"
    r"|\b(?:model|server|engine|system|service|we are|we're)\b[^.]{0,40} at capacity",
)
_SERVER = Phrases(
    r"InternalServerError|ServerError\b|internal server error|service unavailable|ServiceUnavailable|bad ?gateway"
    r"|server had an error|\bHTTP 5\d\d\b|\b50[0234] (?:Server Error|Service|Bad|Internal|Gateway)"
    r"|InternalServerException|InternalFailure|Model(?:Stream)?ErrorException|(?-i:\b500 INTERNAL\b)|\bapi_error\b"
    r"|unexpected(?: internal)? error (?:occurred|on our side)|upstream connect error|no healthy upstream"
    r"|ModelNotReady",
)
_PARSE = Phrases(
    r"JSONDecodeError|JSONParse|ParsingError|OutputParser|ParserError|ParseError|invalid json|Unexpected token"
    r"|not valid json|Expecting value: line|line \d+ column \d+ \(char \d+\)|Unexpected end of JSON"
    r"|APIResponseValidationError|ZodError|UnmarshalError|TypeValidationError|NoObjectGenerated|JSONSchemaValidation"
    r"|could not parse (?:the )?(?:response|output|llm)|did not match (?:the )?(?:expected )?schema"
    r"|structured output validation failed|Schema validation failed"
    # Gemini's client for Java, Jackson 3, Spring's clients of HTTP, OpenAI's client for Java
    r"|failed to parse (?:the )?json|StreamReadException|MismatchedInputException"
    r"|Error while extracting response for type|OpenAIInvalidData",
)
_BAD_REQUEST = Phrases(
    r"BadRequest|invalid_request_error|InvalidRequest|UnprocessableEntity|INVALID_ARGUMENT|\bNotFoundError"
    r"|UnsupportedParams|DeploymentNotFound|ResourceNotFoundException|not_found_error|model_not_found|FAILED_PRECONDITION",
    flags=re.NOFLAG,
)

# in order: the first that matches wins; what is narrower stands before what it is a case of
_BY_TEXT: Final = (
    (_CONTEXT, ErrorClass.CONTEXT_OVERFLOW),
    (_QUOTA, ErrorClass.QUOTA),
    (_STEPS, ErrorClass.STEP_LIMIT),
    (_RATE, ErrorClass.RATE_LIMIT),
    (_AUTH, ErrorClass.AUTH),
    (_FILTER, ErrorClass.CONTENT_FILTER),
    (_TIMEOUT, ErrorClass.TIMEOUT),
    (_OVERLOADED, ErrorClass.SERVER),
    (_CONNECTION, ErrorClass.CONNECTION),
    (_SERVER, ErrorClass.SERVER),
    (_PARSE, ErrorClass.PARSE),
    (_CANCELLED, ErrorClass.CANCELLED),
    (_BAD_REQUEST, ErrorClass.BAD_REQUEST),
)

# types that say by themselves what happened, and are not a wrapper around something else
_BY_TYPE: Final = tuple(pair for pair in _BY_TEXT if pair[1] not in (ErrorClass.CONTEXT_OVERFLOW, ErrorClass.QUOTA))

# google.rpc.Code numbers, as OpenTelemetry's rpc.grpc.status_code sends them
_GRPC: Final = {
    1: ErrorClass.CANCELLED,
    3: ErrorClass.BAD_REQUEST,
    4: ErrorClass.TIMEOUT,
    5: ErrorClass.BAD_REQUEST,
    7: ErrorClass.AUTH,
    8: ErrorClass.RATE_LIMIT,
    13: ErrorClass.SERVER,
    14: ErrorClass.CONNECTION,
    16: ErrorClass.AUTH,
}
_HTTP: Final = {
    401: ErrorClass.AUTH,
    402: ErrorClass.QUOTA,
    403: ErrorClass.AUTH,
    408: ErrorClass.TIMEOUT,
    413: ErrorClass.CONTEXT_OVERFLOW,
    429: ErrorClass.RATE_LIMIT,
    499: ErrorClass.CANCELLED,
    504: ErrorClass.TIMEOUT,
    524: ErrorClass.TIMEOUT,
    529: ErrorClass.SERVER,
}
_CODE: Final = re.compile(r"[45]\d\d")
_CODE_IN_TEXT: Final = re.compile(
    r"(?:error code|status[_ ]?code|http(?:/\d(?:\.\d)?)?(?: status)?(?: code)?|returned(?: error)?|status"
    r"|\"code\")\W{0,3}"
    r"([45]\d\d)\b|\b([45]\d\d) (?:Client|Server) Error"
    # botocore, of a body that names no type
    r"|error occurred \(([45]\d\d)\)",
    re.IGNORECASE,
)
_NAMED: Final = (
    r"\s*([A-Za-z_][\w.]*(?:Error|Exception|Exceeded|Timeout|Warning|Exit|Interrupt|Overflow|Triggered"
    r"|BubbleUp|Command))"
)
_TYPE_PREFIX: Final = re.compile(_NAMED + r"\s*:\s+")
# a Python repr: RateLimitError("Error code: 429 - …")
_REPR: Final = re.compile(_NAMED + r"""\((['"]?)""")
# no class has a longer name
_TYPE_MAX_CHARS: Final = 200
_TRACEBACK: Final = "Traceback (most recent call last)"
# thrown to pause a run for a person, or to hand over, and caught by the framework: LangGraph, Pydantic AI
_CONTROL_FLOW: Final = frozenset(
    {"GraphInterrupt", "NodeInterrupt", "GraphBubbleUp", "ParentCommand", "ApprovalRequired", "CallDeferred"}
)
# OpenAI agents in JavaScript, of each step above the one that failed: {"error": "ModelBehaviorError: …"}
_OF_RUN: Final = re.compile(r"Error in agent run: (?=\{)")
_GENERIC: Final = frozenset({"Exception", "BaseException", "Error", "builtins.Exception"})
# Java's wrappers: their message is the cause, "com.google.genai.errors.ClientException: 429 Too Many Requests", and may
# be a wrapper again
_OF_JAVA: Final = frozenset(
    {
        "java.lang.RuntimeException",
        "java.util.concurrent.CompletionException",
        "java.util.concurrent.ExecutionException",
    }
)
_MAX_WRAPPERS: Final = 4
# how much of a message is searched: what names the cause stands early, and dumps of prompts later
_SEARCHED_CHARS: Final = 2000


def classify(*, error_type: str, status_code: int, message: str) -> ErrorClass:
    """Return why a call failed.

    A narrow meaning in the text (context overflow, quota, content filter) wins over the code, the code over the type
    and both over the rest of the text, because a wrapper's type says less than what it wraps.
    """
    return _class_of(error_type[-_TYPE_MAX_CHARS:], status_code, message[:_SEARCHED_CHARS])


# every ancestor repeats its child's error, and a broken provider says the same all day; 2 MB at most
@functools.lru_cache(maxsize=1_024)
def _class_of(error_type: str, status_code: int, text: str) -> ErrorClass:
    if _THROTTLED.search(error_type):
        # Bedrock throttles by tokens in words that read like an overflow
        return ErrorClass.RATE_LIMIT
    folded_text, folded_type = folded(text), folded(error_type)
    if status_code in (400, 413, 422, 429, 403, 402, 8, 0):
        for pattern, found in _BY_TEXT[:2]:
            if pattern.are_in(text, folded_text) or pattern.are_in(error_type, folded_type):
                return ErrorClass.RATE_LIMIT if found is ErrorClass.QUOTA and _PER_TIME.search(text) else found
    if status_code in (400, 403) and _FILTER.are_in(text, folded_text):
        return ErrorClass.CONTENT_FILTER
    if status_code == 500 and error_type.startswith("litellm.") and _PARSE.are_in(text, folded_text):
        # what LiteLLM calls a server error is a body that it could not read
        return ErrorClass.PARSE
    by_code = _by_code(status_code)
    if by_code is not None and by_code is not ErrorClass.BAD_REQUEST:
        return by_code
    short = error_type.rpartition(".")[2]
    folded_short = folded(short)
    for pattern, found in _BY_TYPE:
        if pattern.are_in(short, folded_short):
            is_filtered = found is ErrorClass.BAD_REQUEST and _FILTER.are_in(text, folded_text)
            return ErrorClass.CONTENT_FILTER if is_filtered else found
    for pattern, found in _BY_TEXT:
        if pattern.are_in(text, folded_text):
            return found
    return by_code or ErrorClass.OTHER


def code_in(message: str) -> int:
    """Return the HTTP code that a message names ("Error code: 429", "status_code: 503", "404 Client Error"), else 0."""
    text = message[:_SEARCHED_CHARS]
    # to look for a number first takes a tenth of the time
    found = _CODE_IN_TEXT.search(text) if _CODE.search(text) is not None else None
    return int(found[1] or found[2] or found[3]) if found else 0


def split_type(message: str) -> tuple[str, str]:
    """Return the type and the rest of "Type: message"; the type is empty where the message does not begin with one."""
    found = _TYPE_PREFIX.match(message[:_TYPE_MAX_CHARS])
    return (found[1], message[found.end() :]) if found else ("", message)


def is_control_flow(error_type: str) -> bool:
    """Return whether what was thrown is a framework's way to pause or to hand over, which fails nothing."""
    return error_type.rpartition(".")[2] in _CONTROL_FLOW


def unwrap(error_type: str, message: str) -> tuple[str, str]:
    """Return type and message of what was thrown, where only a generic type was recorded.

    LangSmith records `Exception` with the repr of the real one and its traceback as its message. Java's wrappers name
    their cause in theirs.
    """
    for _ in range(_MAX_WRAPPERS):
        if error_type not in _OF_JAVA:
            break
        cause, rest = split_type(message)
        if not cause:
            return error_type, message
        error_type, message = cause, rest
    if message[:1] == "[" and '"code"' in message[:_SEARCHED_CHARS]:
        return _zod(error_type, message)
    run = _OF_RUN.match(message) if not error_type or error_type in _GENERIC else None
    if run is not None and (told := _told_in(message[run.end() :])):
        prefixed, rest = split_type(told)
        return prefixed or error_type, rest
    if error_type not in _GENERIC:
        return error_type, message
    head = message[:_TYPE_MAX_CHARS]
    named = _REPR.match(head)
    if named is None:
        prefixed, rest = split_type(message)
        return (prefixed, rest) if prefixed else (error_type, message)
    rest = message[named.end() :].partition(_TRACEBACK)[0].rstrip()
    rest = rest.removesuffix(")").removesuffix(",")
    return named[1], rest.removesuffix(named[2]) if named[2] else rest


def _told_in(raw: str) -> str:
    """Return the error that JSON holds under `error`, or nothing."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return ""
    said = found.get("error") if isinstance(found, dict) else None
    return said if isinstance(said, str) else ""


def _zod(error_type: str, message: str) -> tuple[str, str]:
    """Return zod's type, and its issues in words: its messages are JSON, and many clients record nothing else."""
    try:
        issues, _ = json.JSONDecoder().raw_decode(message)
    except (ValueError, RecursionError):
        return error_type, message
    told = [issue for issue in issues if isinstance(issue, dict) and isinstance(issue.get("message"), str)]
    if not told or len(told) < len(issues):
        return error_type, message
    named = "ZodError" if not error_type or error_type in _GENERIC else error_type
    return named, "; ".join(_issue(issue) for issue in told)


def _issue(issue: dict[str, Any]) -> str:
    path = issue.get("path")
    where = ".".join(map(str, path)) if isinstance(path, list) else ""
    return f"{where}: {issue['message']}" if where else str(issue["message"])


def _by_code(code: int) -> ErrorClass | None:
    if code in _HTTP:
        return _HTTP[code]
    if code in _GRPC:
        return _GRPC[code]
    if 500 <= code < 600:
        return ErrorClass.SERVER
    return ErrorClass.BAD_REQUEST if 400 <= code < 500 else None
