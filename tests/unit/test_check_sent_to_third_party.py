"""sent_to_third_party: who is a third party, and who is not."""

import pytest

from core.model.finding import Severity
from core.model.span import Details, Span
from detector.checks.port import Outcome
from detector.checks.sent_to_third_party import SentToThirdParty, SentToThirdPartyConfig
from detector.checks.text.hosts import is_own, is_third_party
from tests.unit.checks_kit import Story, present

CARD = "4539 1488 0343 6467"
KEY = "gh" + "p_k3JdS92mXq7LtRw0Zb5VcY8nPf4Hg6Ua1Ei2"


def asked(**facts: object) -> Span:
    return Story().llm(**{"provider": "", "model": "llama3", **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "facts",
    [
        {"provider": "openai"},
        {"provider": "OpenAI"},
        {"provider": "azure.ai.openai"},
        {"provider": "aws.bedrock"},
        {"model": "gpt-4o-mini"},
        {"model": "openai/gpt-4o"},
        {"model": "claude-sonnet-4"},
        {"details": Details(server="api.openai.com")},
        {"details": Details(server="https://api.together.xyz/v1")},
        {"details": Details(server="8.8.8.8:8080"), "provider": "ollama"},
    ],
)
def test_hosted_models_are_third_parties(facts: dict[str, object]) -> None:
    assert is_third_party(asked(**facts), ())


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"provider": "ollama"},
        {"provider": "strands-agents"},
        {"provider": "openai", "details": Details(server="localhost")},
        {"provider": "openai", "details": Details(server="http://10.0.3.7:8000/v1")},
        {"provider": "openai", "details": Details(server="[::1]:8000")},
        {"provider": "openai", "details": Details(server="vllm.models.svc.cluster.local")},
        {"provider": "openai", "details": Details(server="vllm")},
        {"provider": "openai", "details": Details(server="llm.acme.com")},
        {"provider": "openai", "details": Details(server="eu.gateway.acme.org:443")},
    ],
)
def test_ones_own_hosts_are_none(facts: dict[str, object]) -> None:
    assert not is_third_party(asked(**facts), ("llm.acme.com", ".acme.org"))


def test_an_ending_is_no_part_of_a_name() -> None:
    assert not is_own("evilacme.org", (".acme.org",))


def test_a_model_of_ones_own_may_be_told_everything() -> None:
    story = Story(provider="ollama")
    story.llm(model="llama3", input=present(f"pay with {CARD} {KEY}"), output=present("ok"))
    assert SentToThirdParty(SentToThirdPartyConfig()).inspect(story.trace()).outcome is Outcome.CLEAR


def test_tools_of_ones_own_may_be_told_everything() -> None:
    story = Story()
    story.tool("charge_card", arguments=f'{{"card": "{CARD}"}}', output=present("ok"))
    assert SentToThirdParty(SentToThirdPartyConfig()).inspect(story.trace()).outcome is Outcome.CLEAR


def test_a_tool_on_a_public_host_is_a_third_party() -> None:
    story = Story()
    story.tool("crm", arguments=f'{{"token": "{KEY}"}}', output=present("ok"), details=Details(server="mcp.crm.io"))
    (finding,) = SentToThirdParty(SentToThirdPartyConfig()).inspect(story.trace()).findings
    assert finding.severity is Severity.MEDIUM
    assert finding.title == "crm is sent a secret: GitHub token"
    assert KEY not in finding.rationale


def test_personal_data_may_be_covered_by_an_agreement() -> None:
    story = Story(provider="openai")
    story.llm(input=present(f"pay with {CARD}"), output=present("ok"))
    check = SentToThirdParty(SentToThirdPartyConfig(personal_data=False))
    assert check.inspect(story.trace()).outcome is Outcome.CLEAR


def test_one_value_in_many_calls_is_one_pattern() -> None:
    story = Story(provider="openai")
    for n in range(4):
        story.llm(input=present(f"{n} pay with {CARD}"), output=present("ok"))
    (finding,) = SentToThirdParty(SentToThirdPartyConfig()).inspect(story.trace()).findings
    assert finding.rationale.count("45…67 (16)") == 1
