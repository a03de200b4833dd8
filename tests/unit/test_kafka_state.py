"""Compacted state on Kafka: whatever is cut off or compacted away, a restore gives the last whole step."""

from hypothesis import given
from hypothesis import strategies as st

from core.log.kafka.state import MANIFEST, Entry, Restored, encode_changes, encode_manifest, restore
from core.log.port import StateChange, StoredRecord

LIMIT = 8
KEYS = st.sampled_from([b"a", b"b", b"c"])
STEPS = st.lists(
    st.lists(st.builds(StateChange, key=KEYS, value=st.none() | st.binary(max_size=40)), max_size=4), max_size=8
)


class Topic:
    """A partition of a state topic, as a stage writes it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.counts: dict[bytes, int] = {}

    def write(self, changes: list[StateChange], next_offset: int) -> None:
        entries, counts = encode_changes(changes, limit=LIMIT, part_counts=self.counts)
        self.entries += [*entries, encode_manifest({"spans": next_offset})]
        self.counts |= counts

    def compacted(self, dirty_from: int) -> list[tuple[int, Entry]]:
        """Return what a compaction of everything before `dirty_from` leaves: the last entry of each key."""
        numbered = list(enumerate(self.entries))
        last = {entry.key: offset for offset, entry in numbered}
        return [(offset, e) for offset, e in numbered if offset >= dirty_from or last[e.key] == offset]


def read(numbered: list[tuple[int, Entry]]) -> Restored:
    records = [
        StoredRecord(
            topic="state.s",
            partition=0,
            offset=offset,
            log_time_ms=0,
            value=entry.value or b"",
            key=entry.key,
            headers=entry.headers,
        )
        for offset, entry in numbered
    ]
    return restore(records, frozenset(offset for offset, entry in numbered if entry.value is None))


def model(steps: list[list[StateChange]]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for change in (change for step in steps for change in step):
        if change.value is None:
            found.pop(change.key, None)
        else:
            found[change.key] = change.value
    return found


@given(steps=STEPS, cut=st.integers(0, 200))
def test_a_topic_cut_off_anywhere_restores_the_last_whole_step(steps: list[list[StateChange]], cut: int) -> None:
    topic = Topic()
    ends = [0]
    for number, step in enumerate(steps):
        topic.write(step, number + 1)
        ends.append(len(topic.entries))
    cut %= len(topic.entries) + 1
    whole = max(number for number, end in enumerate(ends) if end <= cut)
    found = read(list(enumerate(topic.entries))[:cut])
    assert found.values == model(steps[:whole])
    assert found.next_offsets == ({"spans": whole} if whole else {})


@given(steps=STEPS, cut=st.integers(0, 200), more=STEPS, clean=st.integers(0, 200))
def test_after_half_a_step_is_put_right_compaction_changes_nothing(
    steps: list[list[StateChange]], cut: int, more: list[list[StateChange]], clean: int
) -> None:
    topic = Topic()
    for number, step in enumerate(steps):
        topic.write(step, number + 1)
    topic.entries = topic.entries[: cut % (len(topic.entries) + 1)]
    found = read(list(enumerate(topic.entries)))
    topic.counts = dict(found.part_counts)
    done = [StateChange(key=key, value=value) for key, value in found.values.items()]
    topic.write(list(found.repairs), 0)
    for step in more:
        topic.write(step, 99)
    expected = model([done, *more])
    again = read(topic.compacted(clean % (len(topic.entries) + 1)))
    assert again.values == expected
    assert again.repairs == []


@given(steps=STEPS)
def test_part_counts_are_those_of_the_values(steps: list[list[StateChange]]) -> None:
    topic = Topic()
    for step in steps:
        topic.write(step, 1)
    found = read(list(enumerate(topic.entries)))
    assert dict(found.part_counts) == {k: -(-len(v) // LIMIT) for k, v in found.values.items() if len(v) > LIMIT}


def test_entries_stay_within_the_limit_and_the_manifest_ends_the_step() -> None:
    topic = Topic()
    topic.write([StateChange(key=b"a", value=b"x" * 30)], 7)
    assert max(len(e.value or b"") for e in topic.entries[:-1]) <= LIMIT
    assert topic.entries[-1].key == MANIFEST
    assert read(list(enumerate(topic.entries))).next_offsets == {"spans": 7}
