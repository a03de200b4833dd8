"""A model's answer holds a secret: a key, a token, a password."""

import re
from collections.abc import Iterable
from typing import Final

from core.dialects.messages import input_messages, is_whole
from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.trace import Trace
from detector.checks.finding import finding, label_of
from detector.checks.model_calls import is_wrapper
from detector.checks.port import CLEAR, SUSPICIOUS, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.text.credentials import Credential, credentials
from detector.checks.text.needles import SECRET, prepare
from detector.checks.text.scan import ANSWER, Passage, scan_of

_NAMED_IN_RATIONALE: Final = 10


# who asks for a password, or for an example with one, is given one that was made up
_ASKED_FOR_ONE: Final = re.compile(
    r"(?:generat|creat|suggest|mak|invent|propos|exampl|sampl|random|strong|erstell|generier|vorschl|beispiel|génér|cré"
    r"|propon|gener|crea|sugier|ejempl|suger|cria|exempl|esempi|maak|voorbeeld)\w*\b.{0,80}?"
    r"(?:pass(?:word|wort|phrase|code)|mot de passe|contraseña|senha|wachtwoord|api[ -]?key|token|secret|\.env|config"
    r"|compose|connection string)",
    re.IGNORECASE | re.DOTALL,
)
_READ_CHARACTERS: Final = 2_000


class SecretsInOutputConfig(CheckConfig):
    """Nothing to set but `enabled`: shapes of keys are their providers' choice."""


class SecretsInOutput:
    """Found where an answer of an LLM call (no LLM span below it) holds one of these:

    - a token in its provider's shape (OpenAI, Anthropic, AWS, Azure, GitHub, GitLab, Slack, Google, Stripe, Hugging
      Face, npm, PyPI, SendGrid, Groq, xAI, Databricks, Vault, Telegram and a dozen more), random enough to be one
      (entropy), with digits, and without a placeholder's words;
    - a private key with its body (PEM, OpenSSH, PGP);
    - a JSON Web Token whose parts decode;
    - a connection string with a password, to a host that is not this one;
    - a value of 16 or more random characters after "API key", "client secret", "access token" and the like;
    - a value of 8 or more characters of three kinds (small, capital, digit, sign) after "password".

    Severity: high for tokens in a provider's shape and private keys, medium for the others; low where the user had said
    it in this conversation. One fault a target and trace, its fingerprint on the kind. The secret is never repeated:
    its first and last characters and its length are.

    Suspicious where there are but labelled values, and the prompt was not sent whole or is longer than is read: the
    user may have asked for one. Unknown where nothing was found and an answer was not sent, or not read to its end.

    Not findings: labelled values that the user's last message asks for ("suggest a strong password", an example
    configuration); placeholders (`sk-your-key`, AKIAIOSFODNN7EXAMPLE, `****`, `$PASSWORD`); a key's heading without its
    body; local connection strings (`postgres:postgres@localhost`); hashes and ids without a word beside them.
    """

    name = "secrets_in_output"
    dimension = Dimension.SAFETY
    needs = (Need.CONTENT,)

    def __init__(self, config: SecretsInOutputConfig) -> None:
        self._config = config
        prepare()

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each target that gave out a secret."""
        scan = scan_of(trace)
        otherwise = UNKNOWN if scan.unread & ANSWER else CLEAR
        if not scan.passages:
            return otherwise
        told: dict[str, tuple[Passage, list[Credential]]] = {}
        for passage in scan.of(SECRET, ANSWER):
            secrets = _own(trace, passage, credentials(passage.text, passage.labels(SECRET)))
            if not is_whole(passage.span.input):
                # whether somebody asked for one is not known
                proven = [secret for secret in secrets if not secret.is_labelled]
                otherwise = otherwise if len(proven) == len(secrets) else SUSPICIOUS
                secrets = proven
            if secrets and not is_wrapper(trace, passage.span):
                told.setdefault(passage.span.target, (passage, []))[1].extend(secrets)
        return found([self._finding(trace, *found_) for found_ in told.values()], otherwise=otherwise)

    def _finding(self, trace: Trace, passage: Passage, secrets: list[Credential]) -> Finding:
        said = [m.text for m in input_messages(trace, passage.span) if m.role == "user"]
        known = {s.raw for s in secrets if any(s.raw in text for text in said)}
        secrets = sorted(secrets, key=lambda s: (s.raw in known, s.is_labelled))
        gravest = secrets[0]
        severity = Severity.MEDIUM if gravest.is_labelled else Severity.HIGH
        whose = "; the user had said it before" if gravest.raw in known else ""
        listed = ", ".join(f"{s.kind} {s.masked}" for s in secrets[:_NAMED_IN_RATIONALE])
        return finding(
            trace,
            self,
            culprit=passage.span,
            kind=FindingKind.FAULT,
            severity=Severity.LOW if gravest.raw in known else severity,
            title=f"{label_of(passage.span)} gives out a secret: {gravest.kind}",
            rationale=f"The answer holds {listed}{whose}. A secret that was shown has to be replaced.",
            message=gravest.kind,
        )


def _own(trace: Trace, passage: Passage, found: Iterable[Credential]) -> list[Credential]:
    """Return the secrets without those that are told by their label alone, where the user asked for one."""
    secrets = list(found)
    if not any(secret.is_labelled for secret in secrets):
        return secrets
    asked = next((m.text for m in reversed(input_messages(trace, passage.span)) if m.role == "user"), "")
    if _ASKED_FOR_ONE.search(asked[-_READ_CHARACTERS:]) is None:
        return secrets
    return [secret for secret in secrets if not secret.is_labelled]
