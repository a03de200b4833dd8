"""Secrets or personal data are sent to a third party: a hosted model, or a tool that asks the open web."""

import fnmatch
from collections.abc import Iterable, Iterator
from typing import Final

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Span
from core.model.trace import Trace
from detector.checks.finding import finding, label_of
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.text.credentials import credentials
from detector.checks.text.hosts import is_own, is_third_party
from detector.checks.text.needles import PERSONAL, SECRET, prepare
from detector.checks.text.personal import personal_data
from detector.checks.text.scan import ARGUMENTS, PROMPT, Passage, scan_of

_NAMED_IN_RATIONALE: Final = 10
# names of tools that carry their arguments out of the house, in frameworks and MCP servers
_WEB_TOOLS: Final = (
    "*web_search*", "*websearch*", "*google*", "*duckduckgo*", "*bing*", "*tavily*", "*serp*", "*brave*", "fetch",
    "*fetch*url*", "*http_request*", "*requests_*", "*browse*", "*visit_page*", "*wikipedia*", "*pastebin*",
)  # fmt: skip
# pages of the web carry such in the open: keys that browsers need, tokens of anonymous visitors
_PUBLIC_IN_PAGES: Final = frozenset({"Google API key", "JSON Web Token", "labelled key", "password"})


class SentToThirdPartyConfig(CheckConfig):
    """Who is a third party."""

    own_hosts: tuple[str, ...] = ()
    """Hosts of one's own besides private addresses and names: `llm.acme.com`, or an ending, `.acme.com`."""
    external_tools: tuple[str, ...] = _WEB_TOOLS
    """Names of tools that send their arguments out, `*` for anything, in lower case."""
    personal_data: bool = True
    """False: secrets alone. For applications whose agreement with the provider covers personal data."""


class SentToThirdParty:
    """Found where one of these holds a secret, or a payment card number, IBAN or national id:

    - a prompt's message of the user, of a tool or of the instructions, to an LLM call whose host is not one's own;
      where no host was sent, whose provider is a hosted one or whose model only its maker serves;
    - the arguments of a tool whose host is not one's own, or whose name is that of a tool for the open web.

    What counts as a secret or personal is what `secrets_in_output` and `pii_in_output` say, test data left out.

    Severity: medium for secrets that the application added (instructions, tools' results, arguments), else low; low too
    for keys, tokens and labelled values in tools' results, since pages of the web carry some in the open. One pattern
    for a target, kind and trace; fingerprint on target and kind. Nothing of the data is repeated but its first and last
    characters.

    Unknown where nothing was found and a prompt was not sent, or not read to its end.

    Not findings: e-mail addresses and phone numbers (an assistant is given them all day); what the assistant itself had
    said (`pii_in_output`, `secrets_in_output`); models on one's own hosts; tools of one's own (`charge_card`).
    """

    name = "sent_to_third_party"
    dimension = Dimension.SAFETY
    needs = (Need.CONTENT,)

    def __init__(self, config: SentToThirdPartyConfig) -> None:
        self._config = config
        self._families = SECRET | (PERSONAL if config.personal_data else 0)
        prepare()

    def inspect(self, trace: Trace) -> Answer:
        """Return one pattern for each target and kind of data."""
        scan = scan_of(trace)
        otherwise = UNKNOWN if scan.unread & PROMPT else CLEAR
        if not scan.passages:
            return otherwise
        sent: dict[tuple[str, str], tuple[Passage, bool, list[str]]] = {}
        for passage in scan.of(self._families, PROMPT | ARGUMENTS):
            if passage.role != "assistant" and self._leaves(passage):
                for kind, is_secret, shown in self._found(passage):
                    key = (passage.span.target, kind)
                    sent.setdefault(key, (passage, is_secret, []))[2].append(shown)
        return found([self._finding(trace, kind, *what) for (_, kind), what in sent.items()], otherwise=otherwise)

    def _leaves(self, passage: Passage) -> bool:
        span = passage.span
        if passage.side == PROMPT or span.tool is None:
            return is_third_party(span, self._config.own_hosts)
        if span.details.server:
            return not is_own(span.details.server.lower(), self._config.own_hosts)
        return _is_like(span, self._config.external_tools)

    def _found(self, passage: Passage) -> Iterator[tuple[str, bool, str]]:
        for secret in credentials(passage.text, passage.labels(SECRET)):
            yield secret.kind, True, secret.masked
        for data in personal_data(passage.text, passage.labels(PERSONAL & self._families)):
            if not data.is_test:
                yield data.kind, False, data.masked

    def _finding(self, trace: Trace, kind: str, passage: Passage, is_secret: bool, shown: list[str]) -> Finding:
        span = passage.span
        where = (
            f"a message of role {passage.role or 'unknown'}" if passage.side == PROMPT else "the arguments of a call"
        )
        listed = ", ".join(list(dict.fromkeys(shown))[:_NAMED_IN_RATIONALE])
        grave = is_secret and passage.role != "user" and not (passage.role == "tool" and kind in _PUBLIC_IN_PAGES)
        to = span.details.server or span.provider or (span.tool.name if span.tool is not None else span.model)
        return finding(
            trace,
            self,
            culprit=span,
            kind=FindingKind.PATTERN,
            severity=Severity.MEDIUM if grave else Severity.LOW,
            title=f"{label_of(span)} is sent {'a secret' if is_secret else 'personal data'}: {kind}",
            rationale=f"{where[0].upper()}{where[1:]} to {to} holds {kind} {listed}.",
            message=kind,
            publish_at_once=grave,
        )


def _is_like(span: Span, patterns: Iterable[str]) -> bool:
    name = (span.tool.name if span.tool is not None else span.name).lower()
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
