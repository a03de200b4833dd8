"""Why a call failed, from its error type, code and text; providers' plain words included."""

import re
from typing import Final

from core.model.span import ErrorClass

_CONTEXT = re.compile(
    r"context[_ ]?(?:length|window)[_ ]?(?:exceeded|limit)?|maximum context length|prompt is too long|too many tokens"
    r"|input (?:is )?too long|exceeds? the (?:model'?s? )?(?:maximum )?(?:context|token)|ContextWindowExceeded"
    r"|ContextOverflow|context window",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"insufficient[_ ]quota|exceeded your current quota|billing|credit balance|out of credits|spending limit"
    r"|quota[_ ]exceeded|payment required",
    re.IGNORECASE,
)
_RATE = re.compile(r"rate[_ -]?limit|too many requests|RESOURCE_EXHAUSTED|throttl|overloaded_error", re.IGNORECASE)
_STEPS = re.compile(
    r"GraphRecursionError|MaxTurnsExceeded|UsageLimitExceeded|AgentMaxStepsError|max(?:imum)?[_ ](?:number of )?"
    r"(?:steps|turns|iterations)|recursion limit of|EventLoopMaxTurns|MaxIterations",
    re.IGNORECASE,
)
_FILTER = re.compile(
    r"content[_ ]?filter|content[_ ]?policy|ContentPolicyViolation|responsible ?ai|usage polic|safety (?:system|filter)"
    r"|PROHIBITED_CONTENT|Tripwire|invalid_prompt",
    re.IGNORECASE,
)
_AUTH = re.compile(
    r"AuthenticationError|PermissionDenied|invalid[_ ]api[_ ]key|incorrect api key|unauthori[sz]ed|UNAUTHENTICATED"
    r"|PERMISSION_DENIED|\bforbidden\b|invalid x-api-key|access denied",
    re.IGNORECASE,
)
_CANCELLED = re.compile(r"CancelledError|AbortError|\bcancell?ed\b|GeneratorExit|KeyboardInterrupt|\baborted\b")
_TIMEOUT = re.compile(
    r"Timeout(?!\s*=)|timed[ -]?out|time limit exceeded|DEADLINE_EXCEEDED|deadline exceeded", re.IGNORECASE
)
_CONNECTION = re.compile(
    r"ConnectionError|ConnectError|APIConnection|connection (?:refused|reset|error|aborted|closed)|ECONNREFUSED"
    r"|ECONNRESET|\bENOTFOUND\b|name or service not known|getaddrinfo|RemoteProtocolError|network is unreachable"
    r"|cannot connect to|socket hang up|fetch failed|(?-i:\bUNAVAILABLE\b)|ServerDisconnected|incomplete chunked read"
    r"|peer closed connection",
    re.IGNORECASE,
)
_SERVER = re.compile(
    r"InternalServerError|internal server error|service unavailable|ServiceUnavailable|bad gateway|overloaded"
    r"|server had an error|\bHTTP 5\d\d\b|\b50[0234] (?:Server Error|Service|Bad|Internal|Gateway)",
    re.IGNORECASE,
)
_PARSE = re.compile(
    r"JSONDecodeError|JSONParse|ParsingError|OutputParser|ParserError|ParseError|invalid json|Unexpected token"
    r"|not valid json|Expecting value: line"
    r"|APIResponseValidationError|UnmarshalError|TypeValidationError|NoObjectGenerated",
    re.IGNORECASE,
)
_BAD_REQUEST = re.compile(
    r"BadRequest|invalid_request_error|InvalidRequest|UnprocessableEntity|INVALID_ARGUMENT|\bNotFoundError"
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
_CODE_IN_TEXT: Final = re.compile(
    r"(?:error code|status[_ ]?code|http(?:/\d(?:\.\d)?)?(?: status)?(?: code)?|returned(?: error)?|status)\W{0,3}"
    r"([45]\d\d)\b|\b([45]\d\d) (?:Client|Server) Error",
    re.IGNORECASE,
)
_TYPE_PREFIX: Final = re.compile(
    r"\s*([A-Za-z_][\w.]*(?:Error|Exception|Exceeded|Timeout|Warning|Exit|Interrupt))\s*:\s+"
)
# how much of a message is searched: what names the cause stands early, and dumps of prompts later
_SEARCHED_CHARS: Final = 2000


def classify(*, error_type: str, status_code: int, message: str) -> ErrorClass:
    """Return why a call failed.

    A narrow meaning in the text (context overflow, quota, content filter) wins over the code, the code over the type
    and both over the rest of the text, because a wrapper's type says less than what it wraps.
    """
    text = message[:_SEARCHED_CHARS]
    if status_code in (400, 413, 422, 429, 403, 402, 0):
        for pattern, found in _BY_TEXT[:2]:
            if pattern.search(text) or pattern.search(error_type):
                return found
    if status_code in (400, 403) and _FILTER.search(text):
        return ErrorClass.CONTENT_FILTER
    by_code = _by_code(status_code)
    if by_code is not None and by_code is not ErrorClass.BAD_REQUEST:
        return by_code
    short = error_type.rpartition(".")[2]
    for pattern, found in _BY_TYPE:
        if pattern.search(short):
            return found
    for pattern, found in _BY_TEXT:
        if pattern.search(text):
            return found
    return by_code or ErrorClass.OTHER


def code_in(message: str) -> int:
    """Return the HTTP code that a message names ("Error code: 429", "status_code: 503", "404 Client Error"), else 0."""
    found = _CODE_IN_TEXT.search(message[:_SEARCHED_CHARS])
    return int(found[1] or found[2]) if found else 0


def split_type(message: str) -> tuple[str, str]:
    """Return the type and the rest of "Type: message"; the type is empty where the message does not begin with one."""
    found = _TYPE_PREFIX.match(message)
    return (found[1], message[found.end() :]) if found else ("", message)


def _by_code(code: int) -> ErrorClass | None:
    if code in _HTTP:
        return _HTTP[code]
    if code in _GRPC:
        return _GRPC[code]
    if 500 <= code < 600:
        return ErrorClass.SERVER
    return ErrorClass.BAD_REQUEST if 400 <= code < 500 else None
