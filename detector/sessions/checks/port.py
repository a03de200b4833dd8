"""What a session check is: a name, a dimension, a configuration of its own, and one pure question to a conversation.

It answers like a check of traces (`detector.checks.port`): found, clear, suspicious or unknown. It is asked again with
every version of every trace of the session, and once more when the session closes, so it may speak of any turn at once
or wait for `conversation.is_closed`. What it no longer finds is withdrawn.

**Reach.** Where older turns are no longer kept, what was found about the first `compared_turns` of the kept ones stands
as it is: a check that looks back further than that would find less than it did. A finding blames one turn; the turns
that show it stand within `compared_turns` of that one.

Adding a check takes one file with the check and its configuration, one line in `DEFAULT_SESSION_CHECKS`, and a test.
"""

from typing import Protocol

from core.model.finding import Dimension
from detector.checks.port import Answer
from detector.sessions.conversation import Conversation


class SessionCheck(Protocol):
    """A rule over one session. `inspect` is pure; raising costs only its own answer."""

    @property
    def name(self) -> str:
        """Return its name: lower case with underscores; part of every fingerprint, so never renamed."""
        ...

    @property
    def dimension(self) -> Dimension:
        """Return the CLEARS dimension of its findings."""
        ...

    def inspect(self, conversation: Conversation) -> Answer:
        """Answer for a session as it stands."""
        ...
