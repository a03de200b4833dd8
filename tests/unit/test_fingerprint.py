"""Fingerprints: equal for one problem however it is written, different for two."""

import pytest

from core.model.span import ErrorClass, SpanError
from detector.checks.errors import identity_of
from detector.checks.finding import quoted
from detector.checks.fingerprint import fingerprint_of, masked_name, short_type, split_error, template_of


def of(message: str, error_type: str = "TypeError", **facts: str) -> str:
    given = {"routing_key": "travel", "service": "travel", "check": "tool_failure", "target": "search", **facts}
    return fingerprint_of(**given, error_type=error_type, message=message)


def test_a_fingerprint_is_stable_over_releases() -> None:
    # a new value here splits every issue in the world: raise VERSION and alias instead
    assert of("search() got an unexpected keyword argument 'page'") == "1f2df93f0ed8ed217c467ff8e1653799"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no user ann@example.org", "no user bob.smith+x@mail.example.com"),
        ("GET https://api.example.org/v1/users/17?q=a failed", "GET http://other.example/x failed"),
        ("cannot reach 10.1.2.3:8080", "cannot reach 192.168.100.200:80"),
        ("cannot reach [2001:db8:0:1:1:1:1:1]:443", "cannot reach [fe80:0:0:0:1:2:3:4]:443"),
        ("no row 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "no row 9b2504e0-4f89-11d3-9a0c-0305e82c3399"),
        ("blob da39a3ee5e6b4b0d3255bfef95601890afd80709 is gone", "blob d41d8cd98f00b204e9800998ecf8427e is gone"),
        ("object at 0x7f00deadbeef", "object at 0x1"),
        ("expired at 2026-11-21T02:55:09.123Z", "expired at 2025-01-02 03:04:05"),
        ("try again in 350ms", "try again in 1m2.5s"),
        ("Limit 30000, used 29,871, requested 1.5e3", "Limit 10, used 9, requested 2"),
        ("no results for 'best pizza'", "no results for 'Ann's favourite café'"),
        ('no results for "best pizza"', 'no results for "a much longer question that somebody asked"'),
        ("cannot open /var/lib/app/a.txt", "cannot open ./b/c.txt"),
        ("cannot open C:\\Users\\ann\\a.txt", "cannot open C:\\b.txt"),
        ("request req_011CSHoEeqs5C35K2UUqR7Fy failed", "request req_99xyzEeqs5C35K2UUqAAAA failed"),
        ("too  many\tspaces", "too many spaces"),
        ("first line\nsecond line", "first line\nanother"),
        ("failed at line 'a()\nb()' due to: KeyError", "failed at line 'c()' due to: KeyError"),
    ],
)
def test_what_differs_between_occurrences_is_masked(one: str, other: str) -> None:
    assert template_of(one) == template_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("rate limit reached", "quota exceeded"),
        ("can't parse the input", "can't parse the output"),
        ("gpt-4o is overloaded", "claude is overloaded"),
        ("don't use this method; it isn't allowed", "don't use that method; it isn't allowed"),
    ],
)
def test_different_problems_stay_different(one: str, other: str) -> None:
    assert template_of(one) != template_of(other)


def test_an_unclosed_quote_hides_the_rest_since_user_text_may_follow() -> None:
    assert template_of("no results for 'how do I") == template_of("no results for 'what\nis")


def test_the_length_of_masked_text_does_not_move_the_cut() -> None:
    tail = " is not a valid city, choose one of the cities that the tool lists" * 4
    assert template_of(f"'{'x' * 10}'{tail}") == template_of(f"'{'y' * 400}'{tail}")


@pytest.mark.parametrize("part", ["routing_key", "service", "check", "target"])
def test_every_part_separates(part: str) -> None:
    assert of("boom") != of("boom", **{part: "another"})
    assert of("boom") != of("boom", error_type="ValueError")


def test_a_separator_in_a_part_cannot_move_it_into_the_next() -> None:
    assert of("boom", service="a|b", check="c") != of("boom", service="a", check="b|c")


@pytest.mark.parametrize(
    ("message", "error_type"),
    [
        ("boom: bad city", "WeatherDown"),
        ("WeatherDown: boom: bad city", "WeatherDown"),
        ("app.tools.WeatherDown: boom: bad city", "app.tools.WeatherDown"),
        ("WeatherDown: boom: bad city", "app.tools.WeatherDown"),
        ("WeatherDown('boom: bad city')", "WeatherDown"),
    ],
)
def test_dialects_that_write_type_and_message_differently_agree(message: str, error_type: str) -> None:
    assert split_error(message, error_type) == ("WeatherDown", "boom: bad city")
    assert of(message, error_type) == of("boom: bad city", "WeatherDown")


def test_a_type_that_only_the_message_tells_is_read_from_it() -> None:
    assert split_error("requests.exceptions.HTTPError: 404 Client Error") == ("HTTPError", "404 Client Error")
    assert split_error("Note: the index is empty") == ("", "Note: the index is empty")


def test_a_traceback_is_read_from_its_last_line() -> None:
    text = 'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g()\nValueError: bad city\n'
    assert split_error(text) == ("ValueError", "bad city")


def test_types_lose_their_module() -> None:
    assert short_type("openai.RateLimitError") == short_type("RateLimitError") == "RateLimitError"


def test_raw_names_lose_their_ids() -> None:
    assert masked_name("GET /users/1234") == masked_name("GET /users/99")
    assert masked_name("chat gpt-4o") == "chat gpt-4o"


@pytest.mark.parametrize(
    "message",
    [
        "Rate limit reached for gpt-4o in organization org-abc on tokens per min: try again in 2s",
        "Error code: 429 - {'error': {'message': 'Rate limit reached', 'type': 'tokens'}}",
        "",
    ],
)
def test_a_rate_limit_is_one_problem_in_the_words_of_every_client(message: str) -> None:
    error = SpanError(error_class=ErrorClass.RATE_LIMIT, error_type="any.ClientError", message=message)
    assert identity_of(error, of_model=True) == ("rate_limit", "")
    # a tool's own limits are its own: its message counts
    assert identity_of(error, of_model=False)[0] == "ClientError"


def test_hostile_messages_cost_little() -> None:
    for message in ("'" * 100_000, '"' * 100_000, "a@" * 50_000, "1" * 100_000, "/" * 100_000, "-a1" * 40_000):
        assert len(template_of(message)) <= 200


def test_quoted_text_is_bounded_and_printable() -> None:
    text = quoted("a\x1b[31mred\n" + "x" * 1_000_000 + "END")
    assert len(text) <= 300
    assert text.isprintable()
    assert text.endswith("END")
