"""Whatever the order, the repetitions and the restarts: the findings that stand are those of the final turns."""

import random

import msgspec
import pytest

from core.model.trace import TraceRecord, TraceVersion, TraceWithdrawal
from tests.unit.test_session_checks import FAILED, FLIGHT, LONG, Sessions, said, version

TURNS = (
    FLIGHT,
    FAILED,
    said("I asked when the next flight to Lisbon is", "It leaves at nine."),
    said("That is wrong.", "I apologize for the mistake, it leaves at ten."),
    said("Do you know the weather there?", "I don't know."),
    said("When do you open?", LONG),
    said("Do you sell bread?", LONG),
    said("Thank you", "You are welcome."),
    None,
)


def story(chance: random.Random) -> tuple[list[TraceVersion], list[TraceRecord]]:
    """Return the final versions in their order, and everything that is written of them in some other order."""
    final: list[TraceVersion] = []
    written: list[TraceRecord] = []
    for place in range(chance.randrange(2, 8)):
        whole = version(place, chance.choice(TURNS), span_count=5)
        if chance.random() < 0.2:
            # it left this session in the end: whatever came of it, then its withdrawal
            written.append(whole)
            continue
        final.append(whole)
        versions = [whole] * chance.randrange(1, 3)
        for _ in range(chance.randrange(3)):
            earlier = version(place, chance.choice(TURNS), span_count=chance.randrange(1, 5))
            kind = {"provisional": True} if chance.random() < 0.5 else {"fragment": True}
            versions.append(msgspec.structs.replace(earlier, **kind))
        written += versions
    chance.shuffle(written)
    gone = {record.trace_id for record in written if isinstance(record, TraceVersion)} - {v.trace_id for v in final}
    withdrawals = [TraceWithdrawal(trace_id=trace_id, routing_key="shop", session_id="s") for trace_id in sorted(gone)]
    return final, [*written, *withdrawals]


@pytest.mark.parametrize("seed", range(60))
def test_the_findings_that_stand_are_those_of_the_final_turns(seed: int) -> None:
    chance = random.Random(seed)
    final, written = story(chance)
    expected = Sessions().take(*final).close()
    sessions = Sessions()
    for record in written:
        sessions.take(record)
        if chance.random() < 0.3:
            sessions.restart()
    assert sessions.close().standing.keys() == expected.standing.keys()
