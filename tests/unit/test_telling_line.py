"""Which line of an error names the problem: one that could be fixed, never a line of output or of code."""

import pytest

from core.model.span import ErrorClass, SpanError
from detector.checks.errors import message_of
from detector.checks.fingerprint import split_error
from detector.checks.telling_line import telling_line
from detector.checks.tool_failure import whole_error
from tests.unit.checks_kit import Story, present

FAILED = "exitcode: 1 (execution failed)\nCode output: "
FRAMES = 'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g()\n'


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (f"{FAILED}{FRAMES}KeyError: 'city'\n", "KeyError: 'city'"),
        (f"{FAILED}loading…\n{FRAMES}app.WeatherDown: no data\n", "app.WeatherDown: no data"),
        (f"{FAILED}{FRAMES}A: 1\n\nDuring handling of…\n\n{FRAMES}B: 2\n", "B: 2"),
        (f"{FAILED}{FRAMES}ValueError: two lines\nof text\n", "ValueError: two lines"),
        (f'{FAILED}  File "a.py", line 1\n    import x\nIndentationError: unexpected indent', "IndentationError: …"),
        (
            "Command failed with exit code 1\n/a.js:1\nf();\n^\nReferenceError: f is not defined\n    at a.js:1:1\n",
            "ReferenceError: f is not defined",
        ),
        (
            'exit status 1\nException in thread "main" java.lang.IllegalStateException: closed\n\tat A.b\n',
            "java.lang.IllegalStateException: closed",
        ),
        ("exit status 128\nfatal: not a git repository\n", "fatal: not a git repository"),
        ("exitcode: 6\n  % Total\n\n  0     0 --:--:--     0curl: (6) Could not resolve host", "curl: (6) Could …"),
        (f"{FAILED}\nunknown language ", "unknown language"),
        ("Error:\nno such table: users", "no such table: users"),
        (f"{FRAMES}ValueError: bad city\n", "ValueError: bad city"),
    ],
)
def test_a_line_that_names_the_problem_is_found(message: str, expected: str) -> None:
    found = telling_line(message)
    assert found is not None
    assert found.startswith(expected.removesuffix("…"))


@pytest.mark.parametrize(
    "message",
    [
        "exitcode: 1 (execution failed)",
        "rate limit reached\nfatal: not a git repository",
        f"{FAILED}{FRAMES}".strip(),
        f"{FAILED}Entry id: http://arxiv.org/abs/1\nTitle: AniDoc\nAuthors: Yihao Meng",
        f"{FAILED}{'menu of the day ' * 20}",
        "",
    ],
)
def test_neither_output_nor_code_names_a_problem(message: str) -> None:
    assert telling_line(message) is None


def test_type_and_quoted_message_come_from_the_telling_line() -> None:
    message = f"{FAILED}{FRAMES}requests.exceptions.ConnectionError: no route\n"
    assert split_error(message) == ("ConnectionError", "no route")
    error = SpanError(error_class=ErrorClass.OTHER, message=message)
    assert message_of(error) == "requests.exceptions.ConnectionError: no route"


def test_a_status_cut_by_its_client_is_completed_from_the_result() -> None:
    whole = f"{FAILED}{FRAMES}KeyError: 'city'\n"
    error = SpanError(error_class=ErrorClass.OTHER, message=whole[:80] + "...")
    story = Story()
    assert whole_error(story.tool("run", output=present(whole)), error).message == whole
    assert whole_error(story.tool("run", output=present("another")), error) == error
    assert whole_error(story.tool("run"), error) == error


def test_hostile_messages_cost_little() -> None:
    # what is worse than linear takes minutes: the limit of every test's time would tell
    for filler in ("A" * 200_000, "a." * 100_000, "A.\n" * 70_000, "\n" * 200_000, "exit " * 40_000, "curl: " * 40_000):
        telling_line(f"exit 1\n{filler}")
        telling_line(filler)
        telling_line(f"exit 1\n{FRAMES}{filler}")
