"""Exact fingerprints: which findings are the same problem.

`v1|routing key|service|check|target|error type|template`, SHA-256, the first 32 hex digits. Each part is something that
one would fix; the template is the head of the error message with everything masked that differs from one occurrence to
the next. The target (a tool's name, a model) stays outside the template, so masking never merges two tools.

**Same fault, same fingerprint, in whichever dialect.** Dialects disagree in how they write one error: the exception
type with or without its module, the message with or without the type in front. Both are normalised before hashing.
Failures of model providers are worded differently by each client library, so where the error class is known the class
stands in place of type and message (`errors.identity_of`).

**No user text.** What a person asked appears in messages between quotes, in URLs and paths: those are masked. Only one
line counts (the first, unless `telling_line` knows better), cut after masking, so that neither the length nor the lines
of what was masked move the cut.

A change of any rule here makes a new `VERSION`: an issue keeps its first fingerprint, and versions alias.
"""

import hashlib
import re
from typing import Final

from detector.checks.telling_line import telling_line

VERSION: Final = "v1"

# 128 bits: no collision among the issues of any installation, and short enough to read out
_HEX_DIGITS: Final = 32
# a message repeats itself after this; masking cost is linear in it
_READ_CHARACTERS: Final = 2000
# enough to tell messages of one exception type apart, too short to reach the payloads that follow them
_TEMPLATE_CHARACTERS: Final = 200

_MASK: Final = re.compile(
    r"""
    (?P<quoted> "[^"]*(?:"|\Z)                          # an unclosed quote was cut: masked to the end
              | (?<!\w)'[\s\S]*?(?:'(?!\w)|\Z)         # an apostrophe inside a word opens and closes nothing
              | “[^”]*(?:”|\Z) | ‘[^’]*(?:’|\Z) | «[^»]*(?:»|\Z) )
  | (?P<url>    \b[a-z][a-z0-9+.\-]{1,15}://[^\s<>"')\]}]+ )
  | (?P<email>  \b[\w.+\-]{1,64}@[\w\-]+(?:\.[\w\-]+)+ )
  | (?P<uuid>   \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b )
  | (?P<date>   \b\d{4}-\d{2}-\d{2}(?:[T\ ]\d{2}:\d{2}(?::\d{2})?(?:[.,]\d+)?(?:Z|\ ?[+\-]\d{2}:?\d{2})?)?
              | \b\d{1,2}/\d{1,2}/\d{2,4}\b
              | \b(?:mon|tue|wed|thu|fri|sat|sun),?\ \d{1,2}\ [a-z]{3}\ \d{4}\b )
  | (?P<ip>     \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b | (?<![\w:])\[?(?:[0-9a-f]{1,4}:){4,7}[0-9a-f:]{0,9}\]?(?::\d+)? )
  | (?P<time>   \b\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\b )
  | (?P<path>   (?<![\w<./])(?:[a-z]:\\|\\\\|~/|\.{0,2}/)[\w.\-+@%~]+(?:[/\\][\w.\-+@%~]*)* )
  | (?P<hex>    \b0x[0-9a-f]+\b | \b(?=[a-f]{0,40}\d)[0-9a-f]{8,}\b )
  | (?P<id>     \b[a-z]{2,12}[_\-](?=[a-z]{0,40}\d)[a-z0-9]{10,}\b
              | \b(?=[a-z]{0,40}\d)(?=\d{0,40}[a-z])[a-z0-9]{20,}\b )
  | (?P<duration> (?<![\w.])\d+(?:[.,]\d+)?\ ?(?:[nµum]?s|secs?|seconds?|milliseconds?|m|mins?|minutes?|h|hours?|days?)
                  (?:\d+(?:[.,]\d+)?(?:ms|s|m|h))*\b )
  | (?P<number> (?<![a-z_])[+\-]?\d+(?:[.,_]\d+)*(?:e[+\-]?\d+)?%? )
    """,
    re.VERBOSE | re.IGNORECASE,
)
# a span's raw name is masked for ids only: quotes and paths in it are what it is
_NAME_MASK: Final = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b(?=[a-f]*\d)[0-9a-f]{8,}\b|(?<![A-Za-z_.])\d+\b",
    re.IGNORECASE,
)
_TYPE_PREFIX: Final = re.compile(r"(?P<type>(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*):\s+")
# a word before a colon names an exception only where it looks like one: "WeatherDown:" might, "Note:" does not
_TYPE_NAME: Final = re.compile(r"(?:Error|Exception|Warning|Timeout|Interrupt|Failure)$")


def _replace(match: "re.Match[str]") -> str:
    return f"<{match.lastgroup}>"


def _sentence(message: str) -> str:
    """Return a message from the place on that says what went wrong, without what stands above it."""
    return (telling_line(message) or message.strip())[:_READ_CHARACTERS]


def head_of(message: str) -> str:
    """Return the line that says what went wrong: the first with text, unless a later one is more telling."""
    return _sentence(message).split("\n", 1)[0].strip()


def split_error(message: str, error_type: str = "") -> tuple[str, str]:
    """Return (short error type, message without that type in front), as every dialect would have sent them.

    Understood in front of a message: `Type: …`, `module.Type: …` and, where the type is known, `Type('…')`.
    """
    known, head = short_type(error_type), _sentence(message)
    match = _TYPE_PREFIX.match(head)
    if match is not None and short_type(match["type"]) == known:
        return known, head[match.end() :]
    if match is not None and not known and _TYPE_NAME.search(match["type"]):
        return short_type(match["type"]), head[match.end() :]
    if known and head.startswith(f"{known}("):
        inner = head[len(known) + 1 :]
        closing = inner.rfind(f"{inner[:1]})")
        if inner[:1] in {"'", '"'} and closing > 0:
            return known, inner[1:closing]
    return known, head


def short_type(error_type: str) -> str:
    """Return an error type without its module: `openai.RateLimitError` and `RateLimitError` are one."""
    return error_type.rstrip().rsplit(".", 1)[-1].rsplit("::", 1)[-1]


def template_of(message: str) -> str:
    """Return the masked head of a message: at most 200 characters, white space collapsed."""
    # masked first: a quotation may run over several lines, and what stands behind it still says what went wrong
    masked = _MASK.sub(_replace, message.strip()[:_READ_CHARACTERS])
    return " ".join(masked.strip().split("\n", 1)[0].split())[:_TEMPLATE_CHARACTERS]


def masked_name(name: str) -> str:
    """Return a raw span name with ids and numbers masked, for where nothing better names the target."""
    return _NAME_MASK.sub("*", name)


def fingerprint_of(
    *, routing_key: str, service: str, check: str, target: str, error_type: str = "", message: str = ""
) -> str:
    """Return the fingerprint: 32 hex digits. `error_type` and `message` as sent; both are normalised here."""
    kind, head = split_error(message, error_type)
    parts = (VERSION, routing_key, service, check, target, kind, template_of(head))
    text = "|".join(part.replace("|", "%7C") for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HEX_DIGITS]
