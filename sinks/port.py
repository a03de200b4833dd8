"""What the app knows of a sink: a name, how much it has yet to send, and a loop."""

import asyncio
from typing import Protocol


class Sink(Protocol):
    """A consumer group with effects outside; one dead sink delays only itself."""

    @property
    def name(self) -> str:
        """Return the consumer group and metric label."""
        ...

    def waiting(self) -> int:
        """Return how many effects are persisted in the outbox and not yet done."""
        ...

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set, then finish what is in flight within a deadline and return.

        Never raises for a peer that is down: it retries with backoff for as long as it takes.
        """
        ...
