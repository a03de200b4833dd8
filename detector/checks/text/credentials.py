"""Secrets in a text: tokens by the shape that their provider gave them, passwords by what stands beside them.

Entropy and words tell a token from a placeholder: `sk-your-key-here`, `AKIAIOSFODNN7EXAMPLE`, `xxxx`.
"""

import base64
import binascii
import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from detector.checks.text import phrases
from detector.checks.text.masking import masked

PRIVATE_KEY: Final = "private key"
_WEB_TOKEN: Final = "JSON Web Token"  # noqa: S105 - the name of a kind
_CONNECTION: Final = "connection string with a password"
_KEY: Final = "labelled key"
_PASSWORD: Final = "password"  # noqa: S105 - the name of a kind

# random Base62 of 20 characters has about 4.0 bits a character, words and repetitions below 3
_LEAST_BITS: Final = 3.0
_LEAST_BITS_LABELLED: Final = 3.5
_PLACEHOLDER: Final = re.compile(
    r"^pk_|example|your|placeholder|dummy|sample|changeme|change-me|redacted|insert|replace|xxxx|\.\.\.|\*\*\*|0000000|1234567"
    r"|abcdef|(?:^|[_\-])(?:test|fake|mock|demo)(?:[_\-]|$)|my-?(?:key|secret|token|api)|api-?key|foobar|<|>|\$\{|\{\{",
    re.IGNORECASE,
)
_ANY_PASSWORD: Final = re.compile(
    r"^(?:pass|password|passwd|pwd|secret|user|root|admin|postgres|mysql|guest|test|token|tiger|hunter|\*+|x+|\.+|<.*|\$.*|\{.*|%.*|\[.*)\d{0,3}$",
    re.IGNORECASE,
)
# what stands there in programs and in manuals: an expression, a name of the thing itself
_CODE: Final = re.compile(r"[()\[\]{}<>|\\]|\.\w+\.|passw|secret|token|_key|env\b|hunter2|tiger", re.IGNORECASE)
_LOCAL: Final = re.compile(
    r"^(?:localhost|127\.|0\.0\.0\.0|\[::1\]|host\b|hostname|example|db\.example|your|my)", re.IGNORECASE
)
_MOST_OF_A_KIND: Final = 20


class Credential(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A secret: its kind, masked for reports, and as it stands in the text, for comparing alone."""

    kind: str
    masked: str
    raw: str
    is_labelled: bool = False
    """Whether only the words beside it say that it is one."""


def credentials(text: str, kinds: Iterable[str]) -> Iterator[Credential]:
    """Yield the secrets of these kinds in a text, each distinct one once."""
    seen: list[str] = []
    for kind in kinds:
        for count, match in enumerate(_expressions()[kind].finditer(text)):
            if count >= _MOST_OF_A_KIND:
                break
            found = _credential(kind, match.group(), text[match.end() : match.end() + 300])
            # one shape may be part of another's
            if found is not None and not any(found.raw in other for other in seen):
                seen.append(found.raw)
                yield found


@functools.cache
def _expressions() -> Mapping[str, re.Pattern[str]]:
    shapes = {kind: re.compile(_starting(shape)) for kind, shape in phrases.SECRETS.items()}
    labelled = {kind: re.compile(_starting(shape), re.I) for kind, shape in phrases.LABELLED_SECRETS.items()}
    return shapes | labelled


def _starting(shape: str) -> str:
    """Return a shape that begins where no hyphen stands before: `eyJ-eyJ-eyJ-…` must not be tried at each of them."""
    return shape.replace(r"\b", r"(?<![\w\-])", 1) if shape.startswith(r"\b") else shape


def _credential(kind: str, raw: str, behind: str) -> Credential | None:
    if kind == PRIVATE_KEY:
        # its heading alone is what manuals show
        body = re.match(r"(?:\s|\\[nr])*(?:[\w\-]+: [^\n]*\n)*((?:[A-Za-z0-9+/=]|\s|\\[nr]){60,})", behind)
        if body is None or _bits(body[1]) < _LEAST_BITS or "..." in behind[:80]:
            return None
        return Credential(kind=kind, masked=masked(re.sub(r"\\[nr]|\s", "", body[1])), raw=body[1])
    if kind == _WEB_TOKEN:
        return Credential(kind=kind, masked=masked(raw), raw=raw) if _is_web_token(raw) else None
    if kind == _CONNECTION:
        password, _, host = raw.rpartition("@")[0].rpartition(":")[2], "", behind
        is_made_up = _ANY_PASSWORD.match(password) or _PLACEHOLDER.search(password) or _LOCAL.match(raw[-1] + host)
        return None if is_made_up else Credential(kind=kind, masked=masked(password), raw=password, is_labelled=True)
    if kind == _PASSWORD:
        value = re.split(r"[\s:=\"'`]", raw.rstrip("\"'`.,;)"))[-1]
        # what a person would choose: letters of both cases, digits, a sign
        classes = [str.islower, str.isupper, str.isdigit, lambda c: c in "!#$%&*+?@^_-"]
        if len(value) < 8 or sum(any(map(has, value)) for has in classes) < 3:
            return None
        if _PLACEHOLDER.search(value) or _ANY_PASSWORD.match(value) or _CODE.search(value) or _bits(value) < 2.5:
            return None
        return Credential(kind=kind, masked=masked(value), raw=value, is_labelled=True)
    if kind == _KEY:
        value = re.split(r"[\s:=\"'`]", raw.rstrip("\"'`.,;"))[-1]
        mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
        if (
            not mixed
            or len(value) < 16
            or _PLACEHOLDER.search(value)
            or _CODE.search(value)
            or _bits(value) < _LEAST_BITS_LABELLED
        ):
            return None
        return Credential(kind=kind, masked=masked(value), raw=value, is_labelled=True)
    if _PLACEHOLDER.search(raw) or _bits(raw) < _LEAST_BITS or not any(c.isdigit() for c in raw):
        return None
    # names of things look like old keys: sk-learn-..., sk-some-long-class-name
    if kind == "OpenAI API key" and (raw.startswith("sk-ant-") or not any(c.isupper() or c.isdigit() for c in raw[3:])):
        return None
    return Credential(kind=kind, masked=masked(raw), raw=raw)


def _is_web_token(raw: str) -> bool:
    """Return whether its first two parts are JSON, and it is not the one of every manual."""
    head, payload, _ = raw.split(".", 2)
    try:
        header = msgspec.json.decode(_unpadded(head))
        claims = msgspec.json.decode(_unpadded(payload))
    except (msgspec.DecodeError, binascii.Error, ValueError):
        return False
    is_token = isinstance(header, dict) and "alg" in header and isinstance(claims, dict)
    return is_token and claims.get("sub") != "1234567890" and claims.get("name") != "John Doe"


def _unpadded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _bits(text: str) -> float:
    """Return Shannon's entropy, in bits a character."""
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values()) if total else 0.0
