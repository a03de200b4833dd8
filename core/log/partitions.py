"""How many partitions each topic has, and what every log refuses by it."""

from collections.abc import Mapping, Sequence


class PartitionCounts:
    """The partition counts of the topics that a log has."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.by_topic = counts

    def of(self, topic: str) -> int:
        """Return the number of partitions. Raises ValueError for a topic that is not there."""
        try:
            return self.by_topic[topic]
        except KeyError:
            raise ValueError(f"no topic {topic}") from None

    def shared_by(self, group: str, topics: Sequence[str]) -> int:
        """Return the number of partitions that the topics of a group have. Raises ValueError where they differ."""
        counts = {self.of(topic) for topic in topics}
        if len(counts) != 1:
            raise ValueError(f"topics of group {group} must share their partition count: {', '.join(topics)}")
        return counts.pop()

    def check(self, topic: str, partition: int) -> None:
        """Raise ValueError for a topic or a partition that is not there."""
        if not 0 <= partition < self.of(topic):
            raise ValueError(f"topic {topic} has {self.of(topic)} partitions, no {partition}")
