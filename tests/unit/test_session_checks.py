"""What the turns of a session tell: found, and the look-alikes that are not."""

import itertools
from collections.abc import Iterable

import msgspec
import pytest

from core.log.port import StoredRecord, Work
from core.model.finding import Dimension, Finding, FindingKind, FindingRecord, Severity, Withdrawal
from core.model.span import ContentState
from core.model.trace import CloseReason, TraceRecord, TraceVersion, TraceWithdrawal, Turn
from core.telemetry import Telemetry
from core.topics import FINDINGS, TRACES, headers
from detector.checks.defaults import DEFAULT_CHECKS
from detector.checks.port import Answer
from detector.sessions.checks.config import SessionChecksConfig
from detector.sessions.checks.registry import SessionChecks
from detector.sessions.checks.unanswered import UnansweredConfig
from detector.sessions.config import SessionsConfig
from detector.sessions.conversation import Conversation
from detector.sessions.said import Said
from detector.sessions.stage import SessionsProcessor, SessionsStage

NOW_S = 1_800_000_000.0
PRESENT = ContentState.PRESENT


def said(question: str, answer: str = "", **fields: object) -> Turn:
    made = Turn(question, PRESENT, answer, PRESENT, "q", "a")
    return msgspec.structs.replace(made, **fields)


def version(place: int, turn: Turn | None, *, apart_s: float = 30.0, **fields: object) -> TraceVersion:
    at_s = NOW_S + place * apart_s
    made = TraceVersion(
        trace_id=f"t{place}",
        version=f"t{place}-1",
        routing_key="shop",
        span_count=3,
        close_reason=CloseReason.ROOT,
        session_id="s",
        service="shop",
        started_ns=int(at_s * 1e9),
        ended_ns=int((at_s + 2) * 1e9),
        closed_at_s=at_s + 7,
        last_append_s=at_s + 2,
        turn=turn,
    )
    return msgspec.structs.replace(made, **fields)


class Sessions:
    """A processor with its committed state; keeps the findings that stand, as readers of `findings` would."""

    def __init__(self, **config: object) -> None:
        self.telemetry = Telemetry()
        self.config = SessionsConfig.model_validate(config)
        self.state: dict[bytes, bytes] = {}
        self.standing: dict[str, Finding] = {}
        self.produced: list[Finding | Withdrawal] = []
        self.origins: list[str] = []
        self.offset = 0
        self.restart()

    def restart(self) -> None:
        stage = SessionsStage(config=self.config, telemetry=self.telemetry)
        made = stage.processor(0, {TRACES: 1, FINDINGS: 4})
        assert isinstance(made, SessionsProcessor)
        made.restore(list(reversed(self.state.items())))
        self.processor = made

    def take(self, *values: TraceRecord, origin: str = "live") -> "Sessions":
        for value in values:
            record = StoredRecord(
                topic=TRACES,
                partition=0,
                offset=self.offset,
                log_time_ms=int(NOW_S * 1000),
                value=msgspec.msgpack.encode(value),
                headers=headers(origin=origin),
            )
            self.offset += 1
            self.commit(self.processor.process([record]))
        return self

    def turns(self, *turns: Turn | None, apart_s: float = 30.0) -> "Sessions":
        return self.take(*(version(place, turn, apart_s=apart_s) for place, turn in enumerate(turns)))

    def close(self) -> "Sessions":
        self.commit(self.processor.tick(NOW_S + 10_000))
        return self

    def commit(self, work: Work) -> None:
        for change in work.state:
            if change.value is None:
                self.state.pop(change.key, None)
            else:
                self.state[change.key] = change.value
        for record in work.produce:
            assert record.topic == FINDINGS
            value = msgspec.msgpack.decode(record.value, type=FindingRecord)
            assert isinstance(value, Finding | Withdrawal)
            self.origins.append(record.headers["origin"])
            self.produced.append(value)
            if isinstance(value, Finding):
                assert value.finding_id not in self.standing
                self.standing[value.finding_id] = value
            else:
                del self.standing[value.finding_id]

    @property
    def found(self) -> list[tuple[str, str]]:
        return sorted((finding.check, finding.trace_id) for finding in self.standing.values())

    def only(self, check: str) -> Finding:
        (finding,) = (f for f in self.standing.values() if f.check == check)
        return finding


def checks_of(*turns: Turn | None, apart_s: float = 30.0) -> list[tuple[str, str]]:
    return Sessions().turns(*turns, apart_s=apart_s).close().found


FLIGHT = said("When is the next flight to Lisbon?", "I have several airlines in my list.")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("How do I reset my password?", "I need to reset my password, how?"),
        ("Where is my order 12345?", "I asked where my order 12345 is!!"),
        ("Wie kann ich mein Passwort ändern?", "Ich möchte mein Passwort ändern, wie geht das?"),
        ("Comment annuler ma réservation ?", "Comment annuler ma reservation"),
        ("¿Cuánto cuesta el envío a Madrid?", "cuanto cuesta el envio a madrid"),
        ("明天去里斯本的航班几点起飞？", "明天去里斯本的航班几点起飞"),
    ],
)
def test_the_same_question_in_other_words_or_another_language(first: str, second: str) -> None:
    turns = (said(first, "There is a lot that I could tell about it."), said(second, "Here you are."))
    assert ("repeated_question", "t0") in checks_of(*turns)


@pytest.mark.parametrize(
    "again",
    [
        "when is the NEXT flight to lisbon",
        "I asked when the next flight to Lisbon is.",
        "The next flight to Lisbon, when does it leave?",
    ],
)
def test_a_question_asked_again_blames_the_answer_before(again: str) -> None:
    assert checks_of(FLIGHT, said(again, "It leaves at nine.")) == [("repeated_question", "t0")]


def test_the_very_same_text_is_a_repetition_where_the_conversation_goes_on_and_a_script_where_it_does_not() -> None:
    assert checks_of(FLIGHT, FLIGHT, FLIGHT) == []
    turns = [msgspec.structs.replace(FLIGHT, history=count) for count in (1, 2)]
    assert ("repeated_question", "t0") in checks_of(*turns)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("When is the next flight to Lisbon?", "When is the next flight to Madrid?"),
        ("Show page 2 of the result list", "Show page 3 of the result list"),
        ("When does the office in Bonn open?", "Where does the office in Bonn open?"),
        ("Turn on the kitchen light", "Turn off the kitchen light"),
        ("Why does the login page load?", "Why does the login page not load?"),
        ("Flights from Lisbon to Madrid", "Flights from Madrid to Lisbon"),
        ("Give me another recipe with chicken", "Give me another recipe with chicken"),
        ("next page please", "next page please"),
        ("Book a table for two people", "Book a table for four people"),
        ("Cancel order 59XX6W now", "Yes, cancel order 59XX6W"),
        ("yes please", "yes please"),
        ("Go on", "Go on"),
    ],
)
def test_questions_that_only_look_alike_are_two(first: str, second: str) -> None:
    assert checks_of(said(first, "Here is the first answer."), said(second, "Here is another one.")) == []


def test_the_same_message_in_several_traces_of_one_turn_is_asked_once() -> None:
    assert checks_of(FLIGHT, FLIGHT, apart_s=6.9) == []
    told = msgspec.structs.replace(FLIGHT, history=3)
    assert checks_of(told, told) == []


def test_history_shows_a_repetition_however_fast_it_came() -> None:
    again = said(FLIGHT.question, "It leaves at nine.", history=2)
    assert checks_of(FLIGHT, again, apart_s=0.1) == [("repeated_question", "t0")]


def test_two_turns_of_an_agent_in_other_words_need_no_pause_and_bare_calls_do() -> None:
    again = said("I asked when the next flight to Lisbon is", "It leaves at nine.")
    assert checks_of(FLIGHT, again, apart_s=2.1) == []
    agent, agent_again = (msgspec.structs.replace(turn, is_whole=True) for turn in (FLIGHT, again))
    assert checks_of(agent, agent_again, apart_s=2.1) == [("repeated_question", "t0")]
    assert checks_of(agent, agent, apart_s=2.1) == []


def test_a_retry_after_an_error_is_no_repetition() -> None:
    failed = said(FLIGHT.question, "", error_class="rate_limit", error_span="e")
    assert checks_of(failed, said(FLIGHT.question, "It leaves at nine.")) == []


def test_what_was_missing_and_asked_for_is_no_repetition() -> None:
    asked_back = said("I need to change my flight to Bonn", "Which flight is it?")
    assert checks_of(asked_back, said("I need to change my flight to Bonn on Monday", "Done.")) == []


@pytest.mark.parametrize(
    "words",
    [
        "That is wrong, I said the morning flight!",
        "This is useless.",
        "You are not listening to me",
        "I already told you my name twice",
        "Let me talk to a human",
        "Das ist falsch!",
        "Ich habe doch schon gesagt, dass ich morgens fliege",
        "Vous ne comprenez pas",
        "C'est faux",
        "Eso está mal",
        "Ya te lo dije",
        "Non hai risposto alla domanda",
        "Isso está errado",
        "Dat klopt niet",
        "你没有回答我的问题",
        "それは違います",
    ],
)
def test_a_frustrated_user_blames_the_answer_before(words: str) -> None:
    finding = Sessions().turns(FLIGHT, said(words, "Let me look.")).close().only("user_frustration")
    assert (finding.trace_id, finding.session_id, finding.span_ids) == ("t0", "s", ("a",))
    assert (finding.severity, finding.kind) == (Severity.LOW, FindingKind.PATTERN)
    assert words not in finding.title


@pytest.mark.parametrize(
    "words",
    [
        "The hotel was terrible and the staff was useless",
        "My card does not work",
        'The letter says "this is useless", what does it mean?',
        "> that is wrong\nis what he wrote, please answer him",
        "I am frustrated because my flight was late",
        "Is that wrong?",
        "Mein Flug war zu spät",
    ],
)
def test_complaints_about_something_else_are_not_frustration(words: str) -> None:
    assert checks_of(FLIGHT, said(words, "I see, thank you for telling me about it.")) == []


def test_a_first_message_is_not_frustration() -> None:
    assert checks_of(said("This is useless.", "How so?")) == []


def test_a_yes_to_being_handed_over_is_not_frustration() -> None:
    offer = said("I want my money back", "I cannot do that. Shall I transfer you to a human agent?")
    assert checks_of(offer, said("Please let me talk to a human agent then", "Done.")) == []
    assert checks_of(FLIGHT, said("Yes, transfer me to a human agent", "Done.")) == []


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I'm sorry, something went wrong. Please try again later.",
        "I don't know.",
        "Es ist ein Fehler aufgetreten.",
        "Je ne sais pas.",
        "No puedo ayudarte con eso.",
        "エラーが発生しました。",
    ],
)
def test_a_question_without_an_answer(answer: str) -> None:
    assert checks_of(said("What is the weather in Lisbon?", answer)) == [("unanswered_question", "t0")]


def test_an_unanswered_question_is_told_when_the_next_one_comes() -> None:
    sessions = Sessions().turns(said("What is the weather?", ""))
    assert sessions.found == []
    assert sessions.take(version(1, said("And in Bonn tomorrow morning?", "Sunny."))).found == [
        ("unanswered_question", "t0")
    ]


@pytest.mark.parametrize(
    "turn",
    [
        said("Thank you!", ""),
        said("What is the weather?", "", answer_state=ContentState.ABSENT),
        said("What is the weather?", "", answer_state=ContentState.REDACTED),
        said("What is the weather?", "", calls_only=True),
        said("What is the weather?", "", error_class="timeout", error_span="e"),
        said("What is the weather?", "I could not find the answer. Which town do you mean?"),
    ],
)
def test_what_is_not_shown_or_not_over_is_not_unanswered(turn: Turn) -> None:
    assert checks_of(turn) == []


def test_what_a_check_of_the_trace_found_is_not_told_again() -> None:
    silent = version(0, said("What is the weather?", ""), answers={"empty_output": "found"})
    assert Sessions().take(silent).close().found == []


def test_checks_that_explain_others_exist() -> None:
    known = {check.name for check in DEFAULT_CHECKS}
    assert set(UnansweredConfig().explained_by) <= known


def test_a_provisional_version_says_nothing_of_the_answer() -> None:
    sessions = Sessions().take(version(0, said("What is the weather?", ""), provisional=True)).close()
    assert sessions.found == []


def test_an_answer_taken_back_blames_the_earlier_one() -> None:
    later = said("And on Monday?", "I apologize for the earlier mistake, it leaves at ten.")
    assert checks_of(FLIGHT, later) == [("self_contradiction", "t0")]


COST = said("What does the flight cost?", "The total cost for the selected flights is $255.")


def test_other_figures_for_the_same_thing_contradict() -> None:
    later = said("Yes, book it.", "The total cost for the selected flights is actually $305. Shall I go on?")
    assert checks_of(COST, later) == [("self_contradiction", "t0")]


@pytest.mark.parametrize(
    "answer",
    [
        "The total cost for the selected flights is $305.",
        "The total cost for the selected flights is actually $255.",
        "Our office has actually 305 people in 12 countries.",
    ],
)
def test_figures_of_something_else_do_not_contradict(answer: str) -> None:
    assert checks_of(COST, said("And with a bag?", answer)) == []


def test_yes_and_then_no_to_the_same_question_contradict() -> None:
    question = "Can I take my dog on the flight to Bonn?"
    assert ("self_contradiction", "t0") in checks_of(said(question, "Yes, dogs fly."), said(question, "No, they stay."))


def test_an_apology_for_something_else_is_no_contradiction() -> None:
    assert checks_of(FLIGHT, said("And on Monday?", "I am sorry for the delay. It leaves at ten.")) == []


LONG = "Our office is open from nine to five on all days of the week but Sunday, and closed on holidays."


def test_the_same_answer_to_two_questions_is_repeated() -> None:
    assert checks_of(said("When do you open?", LONG), said("Do you sell bread?", LONG)) == [("repeated_answer", "t1")]


def test_the_usual_words_after_thanks_may_repeat() -> None:
    assert checks_of(said("When do you open?", LONG), said("Thanks a lot", LONG)) == []
    assert checks_of(said("When do you open?", "Sure."), said("Do you sell bread?", "Sure.")) == []


FAILED = said("And to Madrid?", "", error_class="timeout", error_span="deep")


def test_a_session_that_ends_on_an_error_was_abandoned() -> None:
    sessions = Sessions().turns(FLIGHT, FAILED)
    assert sessions.found == []
    finding = sessions.close().only("abandoned_after_error")
    assert (finding.trace_id, finding.span_ids, finding.error_type) == ("t1", ("deep",), "timeout")


def test_a_turn_that_somebody_cancelled_is_no_error_to_leave_after() -> None:
    assert checks_of(FLIGHT, msgspec.structs.replace(FAILED, error_class="cancelled")) == []


def test_who_comes_back_after_an_error_has_not_left() -> None:
    assert checks_of(FLIGHT, FAILED, said("And to Bonn?", "At ten.")) == []
    assert checks_of(FAILED) == []


def test_abandonment_is_withdrawn_when_a_late_trace_shows_that_the_user_came_back() -> None:
    sessions = Sessions().turns(FLIGHT, FAILED)
    sessions.commit(sessions.processor.tick(NOW_S + 1900))
    assert [check for check, _ in sessions.found] == ["abandoned_after_error"]
    sessions.take(version(2, said("And to Bonn?", "At ten.")))
    assert sessions.found == []
    assert isinstance(sessions.produced[-1], Withdrawal)


def test_a_session_evicted_or_cut_by_its_age_was_not_abandoned() -> None:
    sessions = Sessions(max_open=1).turns(FLIGHT, FAILED)
    sessions.take(version(2, FLIGHT, session_id="other"))
    assert sessions.found == []
    sessions = Sessions(gap_s=100, max_s=100).turns(FLIGHT, FAILED, apart_s=90)
    sessions.take(version(2, FLIGHT, apart_s=90))
    assert sessions.found == []


STORY = (
    FLIGHT,
    said("I asked when the next flight to Lisbon is", "It leaves at nine."),
    said("That is wrong.", "I apologize for the mistake, it leaves at ten."),
    said("Do you know the weather there?", "I don't know."),
    FAILED,
)


def test_the_order_of_arrival_does_not_matter() -> None:
    versions = [version(place, turn) for place, turn in enumerate(STORY)]
    seen = {tuple(Sessions().take(*order).close().found) for order in itertools.permutations(versions)}
    assert len(seen) == 1
    assert {check for check, _ in seen.pop()} == {
        "repeated_question",
        "user_frustration",
        "self_contradiction",
        "unanswered_question",
        "abandoned_after_error",
    }


def test_restarts_repeat_and_forget_nothing() -> None:
    steady, restarted = Sessions(), Sessions()
    for place, turn in enumerate(STORY * 10):
        for sessions in (steady, restarted):
            sessions.take(version(place, turn))
        restarted.restart()
        assert restarted.state == steady.state
    assert restarted.close().found == steady.close().found
    assert steady.state == {}


def test_old_turns_go_and_what_was_found_stays() -> None:
    sessions = Sessions(max_turns=4, compared_turns=2).turns(*STORY[:3])
    before = sessions.found
    sessions.take(*(version(place, said(f"Word number {place}", f"Reply number {place}")) for place in range(3, 40)))
    assert sessions.close().found == before
    assert len(sessions.produced) == len(before)


def test_texts_are_bounded_over_sessions_and_counted() -> None:
    sessions = Sessions(max_text_chars=10_000)
    for number in range(40):
        sessions.take(version(number, FLIGHT, session_id=f"s{number}"))
    assert sessions.telemetry.total("clearwatch.dropped", reason="session_turns_evicted") > 20
    assert sum(map(len, sessions.state.values())) < 20_000


def test_a_withdrawn_turn_takes_its_findings_along() -> None:
    sessions = Sessions().turns(FLIGHT, said("That is wrong.", "Let me look."))
    assert sessions.found
    sessions.take(TraceWithdrawal(trace_id="t1", routing_key="shop", session_id="s"))
    assert sessions.found == []


def test_a_larger_version_changes_what_is_found() -> None:
    sessions = Sessions().take(version(0, FLIGHT), version(1, said("That is wrong.", ""), fragment=True))
    sessions.take(version(1, said("And to Bonn tomorrow?", "At ten."), span_count=2))
    assert sessions.found == []


def test_replayed_traces_make_replayed_findings() -> None:
    sessions = Sessions().take(*(version(n, turn) for n, turn in enumerate(STORY)), origin="replay").close()
    assert set(sessions.origins) == {"replay"}
    assert {finding.origin for finding in sessions.standing.values()} == {"replay"}


def test_without_texts_checks_do_not_know() -> None:
    hidden = Turn("", ContentState.ABSENT, "", ContentState.REDACTED, "q", "a")
    sessions = Sessions().turns(hidden, hidden).close()
    assert sessions.found == []
    unknown = sessions.telemetry.total("clearwatch.check.answers", check="user_frustration", outcome="unknown")
    assert unknown > 0


def test_answers_are_counted_by_check() -> None:
    sessions = Sessions().turns(FLIGHT, said("That is wrong.", "Let me look."))
    assert sessions.telemetry.total("clearwatch.check.answers", check="user_frustration", outcome="found") == 1
    assert sessions.telemetry.total("clearwatch.findings", check="user_frustration") == 1


def test_a_check_is_switched_off_by_its_section() -> None:
    sessions = Sessions(checks={"user_frustration": {"enabled": False}})
    assert sessions.turns(FLIGHT, said("That is wrong.", "Let me look.")).found == []


def unnamed(place: int, turn: Turn | None, user: str = "ann") -> TraceVersion:
    return version(place, turn, session_id="", user_id=user)


def stitched(places: Iterable[int]) -> Sessions:
    return Sessions(stitch=True).take(*(unnamed(place, STORY[place]) for place in places))


def test_traces_of_a_user_are_stitched_where_that_is_asked_for() -> None:
    assert Sessions().take(*(unnamed(n, turn) for n, turn in enumerate(STORY))).close().found == []
    first, again = stitched(range(3)).standing, stitched(range(3)).standing
    assert first
    assert first == again
    assert {finding.session_id.partition(":")[0] for finding in first.values()} == {"stitched"}
    assert not any("ann" in finding.session_id for finding in first.values())


def test_another_user_or_a_later_day_is_another_stitched_session() -> None:
    wrong = said("That is wrong.", "Let me look.")
    sessions = Sessions(stitch=True).take(unnamed(0, FLIGHT), unnamed(1, wrong, user="bob"), unnamed(900, wrong))
    assert sessions.found == []
    for shared in ("anonymous", "GUEST", ""):
        assert Sessions(stitch=True).take(unnamed(0, FLIGHT, shared), unnamed(1, wrong, shared)).found == []


def test_a_stitched_trace_that_names_its_session_late_leaves() -> None:
    sessions = stitched(range(3))
    assert sessions.found
    key = next(finding.session_id for finding in sessions.standing.values()).rpartition(":")[0]
    for place in range(3):
        sessions.take(TraceWithdrawal(trace_id=f"t{place}", routing_key="shop", stitched=key))
    assert sessions.found == []
    assert sessions.state == {}


def test_state_of_the_release_before_is_read() -> None:
    """Traces were arrays of seven then, sessions maps of six; versions had no turn."""
    session = {
        "routing_key": "shop",
        "session_id": "s",
        "part": 1,
        "first_activity_s": NOW_S,
        "last_activity_s": NOW_S,
        "is_closed": False,
    }
    sessions = Sessions()
    sessions.state = {
        b"s" + msgspec.msgpack.encode(("shop", "s")): msgspec.msgpack.encode(session),
        b"t" + msgspec.msgpack.encode(("shop", "s", "old")): msgspec.msgpack.encode((1, 3, False, True, 1, 2, 0)),
    }
    sessions.restart()
    sessions.take(version(0, FLIGHT), version(1, said("That is wrong.", "Let me look.")), version(2, None))
    assert sessions.found == [("user_frustration", "t0")]
    assert sessions.processor.sessions[0].trace_count == 4


def test_a_larger_version_of_a_trace_of_the_release_before_replaces_it() -> None:
    sessions = Sessions()
    sessions.take(version(0, None), version(0, FLIGHT, log_count=2), version(1, said("That is wrong.", "Let me look.")))
    assert sessions.found == [("user_frustration", "t0")]


@pytest.mark.parametrize(
    "text", ["i " * 5_000, "?" * 10_000, '"' * 10_001, "a" * 20_000, "i have " * 3_000, "je ne " * 3_000]
)
def test_no_text_takes_long_to_read(text: str) -> None:
    # 20 kB: a scan that grows worse than with the square takes longer than a test may
    said_once = Said(text)
    assert not said_once.is_frustrated
    assert (said_once.takes_back, said_once.says_no_answer, said_once.wants_human) == (False, False, False)
    assert said_once.asks_back in (True, False)
    assert said_once.telling is not None


def test_a_check_that_fails_costs_its_own_answer_only() -> None:
    class Broken:
        name = "broken"
        dimension = Dimension.RELEVANCE

        def inspect(self, conversation: Conversation) -> Answer:
            raise ZeroDivisionError

    telemetry = Telemetry()
    checks = SessionChecks(SessionChecksConfig(), telemetry, extra=[Broken()])
    conversation = Conversation(
        routing_key="shop", session_id="s", part=1, is_closed=True, is_cut=False, turns=(), compared_turns=8
    )
    assert checks.inspect(conversation) == []
    assert telemetry.total("clearwatch.check.failures", check="broken") == 1
    with pytest.raises(ValueError, match="share a name"):
        SessionChecks(SessionChecksConfig(), telemetry, extra=[Broken(), Broken()])


def test_only_the_dimensions_asked_for_are_looked_for() -> None:
    checks = SessionChecks(SessionChecksConfig(), Telemetry(), dimensions=[Dimension.EXECUTION])
    assert checks.names == ("abandoned_after_error",)
