"""The digest of a turn: what the user said last, the final answer, how it ended. Made for traces of a session only.

For the root stands the first agent or chain below it, where the root itself says nothing: a web server's span, say.

**Question.** The last user message of the root's input where that is a conversation, else of the first LLM call's
input; where the root was given plain text which that message contains (a prompt built around it), the plain text, and
where it was given arguments of a function, the longest such argument.
**Answer.** The root's output where it is plain text or ends with a message of the assistant, else the last LLM output
with text, else the root's output as it is. **Error.** A turn ended in an error where its root failed, or where its last
LLM call did and the root has no answer: what was recovered from is no end.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from core.dialects.calls import decorated
from core.dialects.messages import MAX_CHARS, input_messages, is_readable, messages_of
from core.dialects.values import structure
from core.model.span import NO_DETAILS, Content, ContentState, Evaluation, Span, SpanKind
from core.model.trace import Trace, Turn

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT, _TRUNCATED, _ABSENT = ContentState.PRESENT, ContentState.TRUNCATED, ContentState.ABSENT
_TALKING: Final = frozenset({SpanKind.AGENT, SpanKind.CHAIN, SpanKind.LLM, SpanKind.UNKNOWN})
_HOLDING: Final = frozenset({SpanKind.AGENT, SpanKind.CHAIN})
_NOTHING_SAID: Final = frozenset({"[]", "{}", "null", "None", '""'})
# as JSON writes them, and as the last bytes of a flattened attribute
_USER_WORDS: Final = ('"user"', '"human"', '"HumanMessage"')
_USERS: Final = (b"user", b"human")
# what a reader of a turn needs of them; an evaluator that runs on every span writes many
_MAX_EVALUATIONS: Final = 16
_MAX_NAME_CHARACTERS: Final = 200


class _Part(msgspec.Struct, gc=False):
    type: str
    content: str


class _Said(msgspec.Struct, gc=False):
    role: str
    parts: list[_Part]


# the usual form (OTel GenAI) and nothing but text: five times as fast as the reader of all forms
_decode_plain: Final = msgspec.json.Decoder(list[_Said]).decode


def turn_of(trace: Trace, *, chars: int) -> Turn | None:
    """Return the digest, texts cut to `chars` characters of head and of tail; None where nothing speaks in it."""
    calls = trace.llm_spans
    root = trace.root
    speaker = _speaker(trace, root)
    if not calls and (speaker is None or (speaker.kind is SpanKind.UNKNOWN and speaker.input.state is _ABSENT)):
        return None
    question, question_state, asked_from, history, goes_on = _question(trace, speaker, calls)
    answer, answer_state, answered_by = _answer(speaker, calls)
    failed = _failed(trace, root, calls, has_answer=bool(answer))
    last = calls[-1] if calls else None
    return Turn(
        cut(question, chars),
        question_state,
        cut(answer, chars),
        answer_state,
        asked_from.span_id if asked_from is not None else "",
        answered_by.span_id if answered_by is not None else "",
        history,
        goes_on,
        not answer and last is not None and bool(last.output.tool_calls),
        str(failed.error.error_class) if failed is not None and failed.error is not None else "",
        failed.span_id if failed is not None else "",
        next((span.agent for span in (speaker, *calls) if span is not None and span.agent), "")[:_MAX_NAME_CHARACTERS],
        _evaluations(trace, chars),
        speaker is not None and speaker.kind in _HOLDING,
    )


def _speaker(trace: Trace, root: Span | None) -> Span | None:
    """Return the span that stands for the turn: the root, else the first agent or chain that says something."""
    if root is not None and root.kind in _TALKING and (root.input.text or root.output.text):
        return root
    if len(trace.spans) > len(trace.llm_spans) + 1:
        for span in trace.spans:
            if span.kind in _HOLDING and (span.input.text or span.output.text):
                return span
    return root if root is not None and root.kind in _TALKING else None


def cut(text: str, chars: int) -> str:
    """Return the head and the tail of a text, and between them how much was left out: equal texts stay equal."""
    if len(text) > 2 * chars:
        text = f"{text[:chars]}\n[… {len(text) - 2 * chars} characters …]\n{text[-chars:]}"
    # half a surrogate pair (JSON may hold one) cannot be written
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _question(
    trace: Trace, speaker: Span | None, calls: Sequence[Span]
) -> tuple[str, ContentState, Span | None, int, bool]:
    """Return the user's last message, its state, its span, how long its history is, and whether the turn goes on."""
    plain = ""
    given: Sequence[str] = ()
    if speaker is not None and speaker.kind is not SpanKind.LLM and speaker.input.state is _PRESENT:
        plain, _ = _asked(trace, speaker)
        given = _arguments(speaker.input.text)
        if plain and plain != speaker.input.text and not given:
            return plain, _PRESENT, speaker, _history(calls[0].input if calls else speaker.input), False
        plain = plain if given else speaker.input.text
        given = given or [plain]
    first = calls[0] if calls else None
    if first is not None and is_readable(first.input):
        asked, goes_on = _asked(trace, first)
        if asked:
            # of the arguments of a function that which the model was given
            text = max((text for text in given if text and text in asked), key=len, default=asked)
            return text, first.input.state, first, _history(first.input), goes_on
    if plain:
        return plain, _PRESENT, speaker, 0, False
    state = first.input.state if first is not None else speaker.input.state if speaker is not None else _ABSENT
    if state is _PRESENT:
        # more than is read, or a conversation in which no user speaks
        state = _TRUNCATED if first is not None and not is_readable(first.input) else _ABSENT
    return "", state, first or speaker, 0, False


def _arguments(raw: str) -> Sequence[str]:
    """Return the texts among the arguments of a decorated function (Langfuse, AgentOps): any may be the question."""
    called = decorated(structure(raw)) if raw.startswith('{"args":') else None
    if called is None:
        return ()
    placed, named = called
    values = [*(placed if isinstance(placed, list) else ()), *(named.values() if isinstance(named, dict) else ())]
    return [value for value in values if isinstance(value, str)]


def _history(given: Content) -> int:
    """Return how often a user is named as speaker: cheap, and enough to tell an earlier input from a later."""
    if given.flat:
        return sum(pair.endswith(_USERS) for pair in given.flat)
    # a conversation is written in one of these forms
    return next(filter(None, map(given.text.count, _USER_WORDS)), 0)


def _asked(trace: Trace, span: Span) -> tuple[str, bool]:
    """Return the last text of a user in a span's input, and whether the input ends with the result of a tool."""
    text = span.input.text
    if text.startswith('[{"role"') and len(text) <= MAX_CHARS:
        try:
            said = _decode_plain(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            said = []
        if said and _is_plain(said):
            return _last_of_user(said), said[-1].role == "tool"
    messages = input_messages(trace, span)
    asked = next((m.text for m in reversed(messages) if m.role == "user" and m.text), "")
    if asked in _NOTHING_SAID:
        asked = ""
    return asked, bool(messages) and messages[-1].role == "tool"


def _is_plain(said: Sequence[_Said]) -> bool:
    for one in said:
        for part in one.parts:
            if part.type != "text":
                return False
    return True


def _last_of_user(said: Sequence[_Said]) -> str:
    for one in reversed(said):
        if one.role == "user" and (text := "\n".join([part.content for part in one.parts])):
            return text
    return ""


def _answer(speaker: Span | None, calls: Sequence[Span]) -> tuple[str, ContentState, Span | None]:
    """Return the final answer, its state, and the span that wrote it."""
    writer = next((span for span in reversed(calls) if span.output.text and not span.output.tool_calls), None)
    blamed = writer or (calls[-1] if calls else speaker)
    if speaker is not None and speaker.kind is not SpanKind.LLM and speaker.output.state in (_PRESENT, _TRUNCATED):
        said = _said(speaker.output)
        if said:
            return said, speaker.output.state, blamed
    if writer is not None:
        return writer.output.text, writer.output.state, blamed
    if speaker is not None and speaker.output.text:
        return speaker.output.text, speaker.output.state, blamed
    last = calls[-1] if calls else speaker
    return "", last.output.state if last is not None else _ABSENT, blamed


def _unquoted(text: str) -> str:
    """Return the text in a JSON string, which is what clients send of a workflow that returns one (OpenLLMetry)."""
    try:
        return msgspec.json.decode(text, type=str)
    except (msgspec.DecodeError, UnicodeError):
        return text


def _said(output: Content) -> str:
    """Return what an output says to the user: plain text, or its last message where that is the assistant's."""
    if output.text[:1] == '"' == output.text[-1:]:
        return _unquoted(output.text)
    if output.text[:1] not in ("{", "["):
        return output.text
    messages = messages_of(output, role="assistant")
    if not messages or messages[-1].role != "assistant" or messages[-1].text == output.text:
        return ""
    return messages[-1].text


def _failed(trace: Trace, root: Span | None, calls: Sequence[Span], *, has_answer: bool) -> Span | None:
    """Return the deepest span that failed last, where the turn ended in an error."""
    if not trace.failed_spans:
        return None
    ended = root is not None and root.error is not None
    ended = ended or (not has_answer and bool(calls) and calls[-1].error is not None)
    return max(trace.leaf_faults, key=lambda span: (span.end_ns, span.span_id)) if ended and trace.leaf_faults else None


def unkept_evaluations(trace: Trace) -> int:
    """Return how many evaluations of a trace its digest leaves out."""
    return max(0, len(_all_evaluations(trace)) - _MAX_EVALUATIONS)


def _evaluations(trace: Trace, chars: int) -> tuple[Evaluation, ...]:
    return tuple(
        Evaluation(
            cut(said.name, _MAX_NAME_CHARACTERS),
            said.score,
            cut(said.label, _MAX_NAME_CHARACTERS),
            cut(said.explanation, chars),
        )
        for said in _all_evaluations(trace)[:_MAX_EVALUATIONS]
    )


def _all_evaluations(trace: Trace) -> list[Evaluation]:
    return [said for span in trace.spans if span.details is not NO_DETAILS for said in span.details.evaluations]
