"""Checks of what an agent does between one LLM call and the next."""

import pytest

from core.model.finding import Dimension, FindingKind, Severity
from core.model.span import Content, SpanKind, ToolCall
from detector.checks.announced_call import AnnouncedCall, AnnouncedCallConfig
from detector.checks.port import Outcome
from detector.checks.similar_calls import SimilarCalls, SimilarCallsConfig
from detector.checks.skipped_plan import SkippedPlan, SkippedPlanConfig
from detector.checks.steps import steps_of
from tests.unit.checks_kit import Story, failed, present

ANNOUNCED = AnnouncedCall(AnnouncedCallConfig())
SKIPPED = SkippedPlan(SkippedPlanConfig())
SIMILAR = SimilarCalls(SimilarCallsConfig())

OFFERED = present("You have these team members:\n- search_agent: searches the web.\n")
PLAN = present(
    "1. Search for the release notes of the library.\n2. Retrieve the commit that added it.\n3. Give the final answer."
)


# -- steps


def test_work_belongs_to_the_llm_call_before_it_and_to_its_own_agent() -> None:
    story = Story()
    root = story.root()
    first = story.llm(root.span_id)
    tool = story.tool("search", root.span_id)
    inner = story.add(SpanKind.AGENT, "inner", parent=root.span_id)
    inner_llm = story.llm(inner.span_id)
    second = story.llm(root.span_id)
    steps = steps_of(story.trace())
    assert [(step.llm, step.work) for step in steps[root.span_id]] == [(first, (tool, inner)), (second, ())]
    assert [(step.llm, step.work) for step in steps[inner.span_id]] == [(inner_llm, ())]


def test_parents_that_stand_in_a_circle_end_the_way_up() -> None:
    story = Story()
    one = story.add(parent="0000000000000002")
    other = story.add(parent=one.span_id)
    llm = story.llm(other.span_id)
    assert [step.llm for step in steps_of(story.trace())[""]] == [llm]


# -- announced_call


def announcing(said: Content, *, asked: Content = OFFERED, runs: str = "", agent: bool = False) -> Story:
    story = Story()
    root = story.root()
    story.llm(root.span_id, input=asked, output=said)
    if runs:
        story.tool(runs, root.span_id)
    if agent:
        story.add(SpanKind.AGENT, "ToolCallingAgent.run", parent=root.span_id)
    story.llm(root.span_id, output=present("That is it."))
    story.tool("final_answer", root.span_id)
    return story


@pytest.mark.parametrize(
    "said",
    [
        "Thought: I will now ask our search_agent to look it up.\nCode:\ntask = 'find it'\nprint(task)",
        "I'll call search_agent with a detailed request.\n# search_agent(task=task)",
        "Let me use search_agent for this.",
    ],
)
def test_a_call_that_is_announced_and_not_made_is_found_once_for_its_name(said: str) -> None:
    story = announcing(present(said))
    answer = ANNOUNCED.inspect(story.trace())
    (finding,) = answer.findings
    assert finding.title == "search_agent is announced and not called"
    assert finding.span_ids == (story.spans[1].span_id,)
    assert (finding.category, finding.kind, finding.severity) == (
        Dimension.EXECUTION,
        FindingKind.PATTERN,
        Severity.LOW,
    )


@pytest.mark.parametrize(
    "said",
    [
        "1. I will ask search_agent to look it up.\n2. Then answer.",
        "I will not call search_agent again.",
        "If this fails I will ask search_agent.",
        "The search_agent said that it is blue.",
        "I will use some_other_thing for this.",
        "I will ask search_agent.\nCode:\nsearch_agent(task='find it')",
    ],
)
def test_plans_conditions_denials_and_calls_in_code_are_no_broken_announcements(said: str) -> None:
    assert ANNOUNCED.inspect(announcing(present(said)).trace()).outcome is Outcome.CLEAR


def test_what_is_announced_and_run_is_clear_as_tool_as_agent_and_as_tool_call() -> None:
    said = "I will ask search_agent to look it up."
    assert ANNOUNCED.inspect(announcing(present(said), runs="search_agent").trace()).outcome is Outcome.CLEAR
    assert ANNOUNCED.inspect(announcing(present(said), agent=True).trace()).outcome is Outcome.CLEAR
    called = present(said, ToolCall("search_agent", "c1", "{}"))
    assert ANNOUNCED.inspect(announcing(called).trace()).outcome is Outcome.CLEAR


def test_announcements_are_judged_when_the_trace_is_closed_and_content_was_sent() -> None:
    story = announcing(present("I will ask search_agent to look it up."))
    assert ANNOUNCED.inspect(story.trace(is_final=False)).outcome is Outcome.CLEAR
    silent = Story()
    root = silent.root()
    silent.llm(root.span_id)
    silent.tool("search", root.span_id)
    assert ANNOUNCED.inspect(silent.trace()).outcome is Outcome.UNKNOWN


# -- skipped_plan


def planning(*, plan: Content = PLAN, runs: str = "", after: bool = True, **agent: object) -> Story:
    story = Story()
    root = story.root(**agent)
    story.llm(root.span_id, output=plan)
    if runs:
        story.tool(runs, root.span_id)
    if after:
        story.llm(root.span_id, output=present("I know it: blue."))
    story.tool("final_answer", root.span_id)
    return story


def test_an_agent_that_plans_look_ups_and_answers_at_once_is_found() -> None:
    story = planning()
    (finding,) = SKIPPED.inspect(story.trace()).findings
    root, plan, answer, _ = story.spans
    assert finding.span_ids == (answer.span_id, plan.span_id, root.span_id)
    assert finding.title == "Agent travel-agent answers without carrying out its plan"
    assert (finding.category, finding.severity) == (Dimension.ADHERENCE, Severity.LOW)


@pytest.mark.parametrize(
    "story",
    [
        planning(runs="web_search"),
        planning(after=False),
        planning(plan=present("1. Compute the sum.\n2. Compare both.\n3. Conclude.")),
        planning(plan=present("Search for it, then retrieve it.")),
        planning(error=failed("boom")),
    ],
    ids=["worked", "plan is the answer", "nothing to look up", "no list", "agent failed"],
)
def test_look_alikes_of_a_skipped_plan_are_clear(story: Story) -> None:
    assert SKIPPED.inspect(story.trace()).outcome is Outcome.CLEAR


def test_without_answers_nobody_can_tell_whether_there_was_a_plan() -> None:
    assert SKIPPED.inspect(planning(plan=Content(), after=False).trace()).outcome is Outcome.CLEAR
    story = Story()
    root = story.root()
    story.llm(root.span_id)
    story.llm(root.span_id)
    story.tool("final_answer", root.span_id)
    assert SKIPPED.inspect(story.trace()).outcome is Outcome.UNKNOWN


# -- similar_calls


def asking(*arguments: str) -> Story:
    story = Story()
    root = story.root()
    for each in arguments:
        story.tool("web_search", root.span_id, arguments=each)
    return story


def test_questions_that_share_most_of_their_words_are_one_pattern() -> None:
    story = asking(
        '{"query": "first edit date of the goose game article"}',
        '{"query": "goose game article first revision date"}',
        '{"query": "date of first edit goose game article wikipedia"}',
        '{"query": "weather in Paris on the first of May"}',
    )
    (finding,) = SIMILAR.inspect(story.trace()).findings
    assert finding.span_ids == tuple(span.span_id for span in story.spans[1:4])
    assert finding.title == "web_search is asked nearly the same again and again"
    assert finding.severity is Severity.LOW


@pytest.mark.parametrize(
    "arguments",
    [
        [f'{{"query": "all reports of the water works", "page": {n}}}' for n in range(4)],
        [f'{{"query": "report number {n} of the water works"}}' for n in range(4)],
        [f'{{"flight": "HAT{n:03d}"}}' for n in range(4)],
        ['{"query": "weather in Paris"}', '{"query": "weather in Rome"}', '{"query": "weather in Oslo"}'],
        ['{"query": "goose game first edit date"}', '{"query": "goose game date of first edit"}'],
    ],
    ids=["pages", "numbers", "ids", "short", "two"],
)
def test_pages_numbers_ids_and_two_tries_are_no_pattern(arguments: list[str]) -> None:
    assert SIMILAR.inspect(asking(*arguments).trace()).outcome is Outcome.CLEAR


def test_similar_calls_are_unknown_where_no_arguments_were_sent() -> None:
    assert SIMILAR.inspect(asking("", "", "").trace()).outcome is Outcome.UNKNOWN


def test_what_is_asked_at_once_and_a_list_that_is_gone_through_are_not_asked_again() -> None:
    at_once, listed, reworded = Story(), Story(), Story()
    for story, texts in (
        (at_once, ["opening hours of the town museum", "opening hours of the sea museum", "opening hours of a museum"]),
        (listed, [f"what is the population of the city of {city}" for city in ("Rome", "Paris", "Oslo", "Bern")]),
        (
            reworded,
            ["opening hours of the town museum", "town museum opening hours", "when opens the town museum hours"],
        ),
    ):
        root = story.root()
        story.llm(root.span_id)
        for n, text in enumerate(texts):
            if n and story is not at_once:
                story.llm(root.span_id)
            story.tool("web_search", root.span_id, arguments=f'{{"query": "{text}"}}')
    assert SIMILAR.inspect(at_once.trace()).outcome is Outcome.CLEAR
    assert SIMILAR.inspect(listed.trace()).outcome is Outcome.CLEAR
    assert SIMILAR.inspect(reworded.trace()).outcome is Outcome.FOUND


def test_what_the_user_is_to_do_is_no_announcement() -> None:
    story = Story()
    root = story.root()
    said = present("I will ask you to call search_agent with the path.")
    story.llm(root.span_id, input=OFFERED, output=said)
    story.tool("other", root.span_id)
    assert ANNOUNCED.inspect(story.trace()).outcome is Outcome.CLEAR


@pytest.mark.parametrize("name", ["web-search", "webSearch", "WebSearch", "search"])
def test_names_are_known_however_they_are_written(name: str) -> None:
    story = Story()
    root = story.root()
    story.tool(name, root.span_id)
    story.llm(root.span_id, output=present(f"I will now call the `{name}` tool."))
    story.llm(root.span_id, output=present("Done."))
    (finding,) = ANNOUNCED.inspect(story.trace()).findings
    assert finding.target == name


@pytest.mark.parametrize(
    "text",
    [
        "I will call transfer_funds with 100 EUR. Shall I go on?",
        "I will use a state-of-the-art method.",
        'I will use "date" as the key.',
        "We need to use JavaScript here.",
    ],
)
def test_questions_and_words_are_no_announcements(text: str) -> None:
    story = Story()
    root = story.root()
    story.tool("transfer_funds", root.span_id)
    given = present('[{"role": "user", "content": "date: 3, \\"date\\": 4, JavaScript: yes, state-of-the-art: no"}]')
    story.llm(root.span_id, input=given, output=present(text))
    assert ANNOUNCED.inspect(story.trace()).outcome is Outcome.CLEAR


@pytest.mark.parametrize(
    "plan",
    [
        "**1.** Research the history of the town.\n**2.** Gather data from official records.\n**3.** Answer.",
        "### Schritt 1: Recherchieren, wann\n### Schritt 2: Suche nach dem Architekten\n### Schritt 3: Antworten",
        "1、搜索该城市的人口\n2、查询官方数据\n3、给出答案",
    ],
)
def test_plans_are_read_in_other_words_and_languages(plan: str) -> None:
    story = Story()
    root = story.root()
    story.llm(root.span_id, output=present(plan))
    story.llm(root.span_id, output=present("It is 42."))
    story.tool("final_answer", root.span_id)
    assert SKIPPED.inspect(story.trace()).outcome is Outcome.FOUND


def test_a_plan_of_what_can_be_done_in_the_head_needs_no_tool() -> None:
    story = Story()
    root = story.root()
    plan = "1. Read the numbers that are given.\n2. Gather the even ones.\n3. Verify the sum.\n4. Obtain the mean."
    story.llm(root.span_id, output=present(plan))
    story.llm(root.span_id, output=present("It is 42."))
    story.tool("final_answer", root.span_id)
    assert SKIPPED.inspect(story.trace()).outcome is Outcome.CLEAR
