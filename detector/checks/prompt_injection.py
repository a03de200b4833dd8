"""A text that an agent reads gives it orders: prompt injection."""

import re
from typing import Final

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.trace import Trace
from detector.checks.finding import finding, label_of
from detector.checks.port import CLEAR, SUSPICIOUS, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.text.needles import INJECTION, prepare
from detector.checks.text.scan import PROMPT, RESULT, Passage, scan_of

# texts that speak of attacks quote them
_ABOUT_ATTACKS: Final = re.compile(
    r"prompt[\s\-]?injection|jailbreak|red[\s\-]?team|adversarial|owasp|security (?:research|advisory|guide)"
    r"|attack(?:er|s)?\b|vulnerabilit|malicious|guardrail|chat template|tokeni[sz]er"
    r"|prompt (?:format|template)|fine-?tun(?:e|ed|ing)\b|hugging ?face|llama\.?cpp|\bgguf\b|\bvllm\b",
    re.IGNORECASE,
)
# how CrewAI ends a run that took too many steps, in a user's message
_OF_FRAMEWORKS: Final = re.compile(r"absolute best final answer", re.IGNORECASE)
# who takes back what he said himself; an attacker speaks of "your instructions"
_IGNORE: Final = "an order to ignore instructions"
_OWN_WORDS: Final = re.compile(
    r"\b(?:ignore|disregard|forget|discard)(?: (?:all|about|of|everything in))* my (?:own )?(?:previous|prior|last"
    r"|earlier|first|original|other|past|former|above)? ?(?:messages?|prompts?|instructions?|commands?|tasks?)\b",
    re.IGNORECASE,
)
_INVISIBLE: Final = ("hidden characters of Unicode's tag block", "a run of invisible characters")


class PromptInjectionConfig(CheckConfig):
    """Whose words are looked at."""

    user_messages: bool = True
    """Whether messages of users are looked at too. False where users write prompts for a living."""


class PromptInjection:
    """Found where a tool's result, a retrieved document or a user's message holds one of these:

    - an order to ignore earlier instructions, in English, German, French, Spanish, Portuguese, Italian, Dutch, Russian,
      Chinese or Japanese;
    - words of known attacks: "before you can solve the task that I gave you", "you are now unrestricted", an order to
      reveal the system prompt;
    - a tag that only a chat template writes (`<|im_start|>`, `[INST]`, `<<SYS>>`);
    - ten or more characters of Unicode's tag block, or a dozen invisible ones in a row;
    - an image whose address has a placeholder for what to carry away;
    - two hints of different kinds: an order to hide something from the user; instructions addressed to an AI.

    Severity: medium in what a tool or a retriever brought, where nobody but an attacker gives orders; low in a user's
    own words. One pattern for a source (the tool, else the model's user) and trace; fingerprint on source and kind.

    Suspicious, and no finding: one hint alone; text that speaks of attacks (articles on prompt injection, documentation
    of chat templates), unless it hides characters. Unknown where nothing was found and a result, or a prompt, was not
    sent, or not read to its end.

    Not findings: the application's own instructions (system, developer) and the assistant's words; a framework's order
    to stop and answer, which CrewAI writes as the user; a user who takes back a message of his own; the flags of
    England, Scotland and Wales, emoji and Persian words, which hold single invisible characters.
    """

    name = "prompt_injection"
    dimension = Dimension.SAFETY
    needs = (Need.CONTENT,)

    def __init__(self, config: PromptInjectionConfig) -> None:
        self._config = config
        self._roles = {"tool", *(("user",) if config.user_messages else ())}
        prepare()

    def inspect(self, trace: Trace) -> Answer:
        """Return one pattern for each source of orders."""
        scan = scan_of(trace)
        # where no span tells of tools, what they brought stands in prompts
        sides = RESULT | PROMPT if self._config.user_messages or not trace.tool_spans else RESULT
        otherwise = UNKNOWN if scan.unread & sides else CLEAR
        if not scan.passages:
            return otherwise
        results = scan.of(INJECTION, RESULT)
        read = {passage.text for passage in results}
        # the same result, told to the model, is the tool's
        told = [p for p in scan.of(INJECTION, PROMPT) if p.role in self._roles and p.text not in read]
        sources: dict[tuple[str, str], tuple[Passage, str]] = {}
        for passage in (*results, *told):
            proof = _proof(passage)
            if proof is None:
                otherwise = SUSPICIOUS
            else:
                sources.setdefault((passage.span.target, passage.role), (passage, proof))
        if results:
            sources = {key: source for key, source in sources.items() if key[1] != "tool"}
        return found([self._finding(trace, *source) for source in sources.values()], otherwise=otherwise)

    def _finding(self, trace: Trace, passage: Passage, proof: str) -> Finding:
        span = passage.span
        of_user = passage.role == "user"
        source = f"a user's message to {label_of(span)}" if of_user else f"the result of {label_of(span)}"
        if passage.role == "tool":
            source = f"a tool's result told to {label_of(span)}"
        return finding(
            trace,
            self,
            culprit=span,
            kind=FindingKind.PATTERN,
            severity=Severity.LOW if of_user else Severity.MEDIUM,
            title=f"{source[0].upper()}{source[1:]} holds {proof}",
            rationale=f"{source[0].upper()}{source[1:]}, {len(passage.text)} characters, holds {proof}. See what the "
            "agent did next: text that it reads must not give it orders.",
            message=f"{passage.role or 'result'}: {proof}",
            publish_at_once=not of_user,
        )


_NOT_FORGOTTEN: Final = re.compile(r"(?:n['’]t|\bnot|\bnever) forget\b", re.IGNORECASE)
_IGNORING: Final = re.compile(r"ignor|disregard|neglect|discard|overrid|bypass", re.IGNORECASE)


def _proof(passage: Passage) -> str | None:
    """Return what proves an injection, or None where there are but hints."""
    needles = [needle for needle, _ in passage.needles if needle.family == INJECTION]
    strong = next((n.label for n in needles if not n.is_weak), None)
    hidden = next((n.label for n in needles if n.label in _INVISIBLE), None)
    if hidden is not None:
        return hidden
    if _ABOUT_ATTACKS.search(passage.text) or (passage.role == "user" and _OF_FRAMEWORKS.search(passage.text)):
        return None
    if strong == _IGNORE:
        if passage.role == "user" and _OWN_WORDS.search(passage.text):
            return None
        if _NOT_FORGOTTEN.search(passage.text) and not _IGNORING.search(passage.text):
            return None
    weak = {n.label for n in needles if n.is_weak}
    return strong or (" and ".join(sorted(weak)) if len(weak) > 1 else None)
