"""The digest of a turn, over traces as clients shape them."""

import json
from typing import Any

import msgspec
import pytest

from core.model.span import NO_DETAILS, Content, ContentState, Evaluation, FinishReason, SpanKind, ToolCall
from core.model.trace import Turn
from detector.assemble.turn import cut, turn_of
from tests.unit.checks_kit import Story, failed, present


def chat(*messages: tuple[str, str]) -> Content:
    return present(json.dumps([{"role": role, "content": text} for role, text in messages]))


def digest(story: Story, **facts: Any) -> Turn:
    turn = turn_of(story.trace(**facts), chars=2_000)
    assert turn is not None
    return turn


def test_a_bare_call_is_a_turn() -> None:
    story = Story()
    span = story.llm(input=chat(("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "When?")))
    story.spans[-1] = msgspec.structs.replace(span, output=present("At nine."))
    turn = digest(story)
    assert (turn.question, turn.answer, turn.history) == ("When?", "At nine.", 2)
    assert (turn.question_span, turn.answer_span) == (span.span_id, span.span_id)
    assert (turn.question_state, turn.answer_state) == (ContentState.PRESENT, ContentState.PRESENT)


def test_a_message_with_an_abyss_in_it_ends_no_turn() -> None:
    deep = "[" * 5_000 + "]" * 5_000
    story = Story()
    story.llm(input=present(f'[{{"role": "user", "parts": [], "x": {deep}}}]'), output=present("Yes."))
    assert digest(story).answer == "Yes."


def test_the_root_says_what_the_turn_was() -> None:
    story = Story()
    root = story.root(input=chat(("user", "When?")), output=present("At nine, Ann."))
    story.llm(root.span_id, input=chat(("user", "Rewrite: When?")), output=present("when flight"))
    last = story.llm(root.span_id, input=chat(("user", "Answer: when flight")), output=present("At nine."))
    turn = digest(story)
    assert (turn.question, turn.answer) == ("When?", "At nine, Ann.")
    assert (turn.question_span, turn.answer_span) == (root.span_id, last.span_id)


def test_below_a_servers_span_the_agent_says_what_the_turn_was() -> None:
    story = Story()
    server = story.add(SpanKind.HTTP, "POST /chat")
    agent = story.add(SpanKind.AGENT, parent=server.span_id, input=chat(("user", "When?")), output=present("At nine."))
    story.llm(agent.span_id, input=chat(("user", "Rewrite: When?")), output=present("when flight"))
    assert (digest(story).question, digest(story).answer) == ("When?", "At nine.")


def test_plain_input_of_the_root_is_the_question_where_a_prompt_was_built_around_it() -> None:
    story = Story()
    root = story.root(input=present("When?"))
    story.llm(root.span_id, input=chat(("user", "Context: … Question: When?")), output=present("At nine."))
    assert digest(story).question == "When?"


def test_plain_input_of_the_root_that_nobody_was_asked_is_not_the_question() -> None:
    story = Story()
    root = story.root(input=present("session:when"))
    story.llm(root.span_id, input=chat(("user", "When?")), output=present("At nine."))
    assert digest(story).question == "When?"


def test_a_dump_of_the_conversation_ends_with_the_answer() -> None:
    story = Story()
    dump = {"messages": [{"type": "human", "content": "When?"}, {"type": "ai", "content": "At nine."}]}
    story.root(input=present('{"messages": [["user", "When?"]]}'), output=present(json.dumps(dump)))
    assert digest(story).answer == "At nine."


def test_a_dump_without_an_answer_leaves_it_to_the_last_call() -> None:
    story = Story()
    root = story.root(input=chat(("user", "When?")), output=present('{"documents": 3, "state": "done"}'))
    story.llm(root.span_id, output=present("At nine."))
    assert digest(story).answer == "At nine."


def test_a_call_after_tool_results_goes_on_with_its_turn() -> None:
    calls = (ToolCall(name="f", call_id="c"),)
    first, second = Story(), Story()
    asked = [{"role": "user", "content": "When?"}]
    first.llm(input=present(json.dumps(asked)), output=present("", *calls), finish_reason=FinishReason.TOOL_CALLS)
    told = [*asked, {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}]
    told.append({"role": "tool", "tool_call_id": "c", "content": "9"})
    second.llm(input=present(json.dumps(told)), output=present("At nine."))
    assert (digest(first).calls_only, digest(first).goes_on) == (True, False)
    assert (digest(second).calls_only, digest(second).goes_on) == (False, True)


def otel(*messages: tuple[str, dict[str, Any]]) -> Content:
    return present(json.dumps([{"role": role, "parts": [part]} for role, part in messages]))


TEXT = {"type": "text", "content": "When?"}
SYSTEM = {"type": "text", "content": "Be brief."}


@pytest.mark.parametrize(
    ("given", "question", "goes_on"),
    [
        (otel(("system", SYSTEM), ("user", TEXT)), "When?", False),
        (otel(("user", TEXT), ("tool", {"type": "tool_call_response", "id": "c", "response": "9"})), "When?", True),
        (otel(("user", TEXT), ("assistant", {"type": "reasoning", "content": "hm"})), "When?", False),
        (otel(("user", {"type": "blob", "modality": "image", "content": "aGk="})), "", False),
        (present('[{"role": "user", "parts": [{"type": "text", "content": "cut off'), "", False),
        (present('[{"role": "user"}]'), "", False),
        (present("[]"), "", False),
    ],
)
def test_messages_of_the_convention_are_read_in_every_form(given: Content, question: str, goes_on: bool) -> None:
    story = Story()
    story.llm(input=given, output=present("At nine."))
    turn = digest(story)
    assert (turn.question, turn.goes_on) == (question, goes_on)


def test_what_a_turn_recovered_from_is_not_its_end() -> None:
    story = Story()
    root = story.root(input=chat(("user", "When?")), output=present("At nine."))
    story.llm(root.span_id, error=failed())
    story.llm(root.span_id, output=present("At nine."))
    assert digest(story).error_class == ""


def test_a_failed_root_is_the_end_and_the_deepest_span_is_to_blame() -> None:
    story = Story()
    root = story.root(input=chat(("user", "When?")), error=failed())
    call = story.llm(root.span_id, error=failed())
    turn = digest(story)
    assert (turn.error_class, turn.error_span, turn.question) == ("other", call.span_id, "When?")


def test_a_failed_last_call_is_the_end_where_no_answer_came() -> None:
    story = Story()
    root = story.root(input=chat(("user", "When?")))
    call = story.llm(root.span_id, error=failed())
    assert digest(story).error_span == call.span_id


@pytest.mark.parametrize("state", [ContentState.ABSENT, ContentState.REDACTED, ContentState.IN_LOGS])
def test_what_was_not_sent_is_not_empty(state: ContentState) -> None:
    story = Story()
    story.llm(input=Content(state=state), output=Content(state=state))
    turn = digest(story)
    assert (turn.question, turn.question_state, turn.answer, turn.answer_state) == ("", state, "", state)


def test_traces_in_which_nothing_speaks_are_no_turns() -> None:
    story = Story()
    story.add(SpanKind.HTTP, "GET /")
    story.add(SpanKind.EMBEDDING, "embed")
    assert turn_of(story.trace(), chars=100) is None


def test_long_texts_keep_head_and_tail_and_stay_different() -> None:
    one, other = "a" * 500 + "b" * 500, "a" * 500 + "x" + "b" * 500
    assert len(cut(one, 100)) < 260
    assert cut(one, 100) != cut(other, 100)
    assert cut("ok \ud83d", 100) == "ok ?"


def test_evaluations_come_along_bounded() -> None:
    story = Story()
    said = tuple(Evaluation(name=f"n{n}", label="bad") for n in range(50))
    story.llm(details=msgspec.structs.replace(NO_DETAILS, evaluations=said))
    found = digest(story).evaluations
    assert found[0] == said[0]
    assert len(found) == 16


def test_a_digest_can_be_written_and_read_and_so_can_one_of_fewer_fields() -> None:
    turn = Turn("q", ContentState.PRESENT, "a", ContentState.TRUNCATED, evaluations=(Evaluation(name="n"),))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(turn), type=Turn) == turn
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(["q"]), type=Turn) == Turn("q")


def test_a_text_that_a_workflow_returns_as_json_is_the_answer_without_its_quotes() -> None:
    story = Story()
    root = story.add(SpanKind.CHAIN, "flow", input=present("When?"), output=present('"At \\"nine\\"."'))
    story.llm(root.span_id, input=chat(("user", "When?")), output=present('At "nine".'))
    assert digest(story).answer == 'At "nine".'


def test_of_the_arguments_of_a_function_the_question_is_the_longest_that_the_model_was_given() -> None:
    story = Story()
    root = story.add(
        SpanKind.AGENT, "ask", input=present('{"args": ["to", "Trains to Bonn?"], "kwargs": {"in": "en"}}')
    )
    story.llm(root.span_id, input=chat(("system", "Be brief."), ("user", "Answer this: Trains to Bonn?")))
    assert digest(story).question == "Trains to Bonn?"
    story = Story()
    root = story.add(SpanKind.AGENT, "ask", input=present('{"args": ["ok"], "kwargs": {}}'))
    story.llm(root.span_id, input=chat(("user", "When?")))
    assert digest(story).question == "When?"
