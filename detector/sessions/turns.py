"""The turns of one partition's sessions whose texts are kept: in order, and within bounds."""

import bisect
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeAlias

from detector.sessions.config import SessionsConfig
from detector.sessions.conversation import Conversation, TurnInSession
from detector.sessions.session import SessionPart, TraceInSession

_Key: TypeAlias = tuple[str, str]
# of a turn beside its texts: objects and ids, roughly
_OVERHEAD_CHARS: Final = 1_000


class _Kept:
    """The turns of one session that are kept, oldest first; at least one."""

    __slots__ = ("chars", "turns")

    def __init__(self) -> None:
        self.turns: list[TurnInSession] = []
        self.chars = 0


class Turns:
    """What the checks of sessions read. Sessions are ordered by when they were last touched."""

    def __init__(self, *, config: SessionsConfig, max_chars: int) -> None:
        self._config = config
        self._max_chars = max_chars
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._cut: set[_Key] = set()
        """Sessions of which turns went for want of room."""
        self._chars = 0

    def has(self, key: _Key) -> bool:
        """Return whether any turn of a session is kept."""
        return key in self._kept

    def put(self, key: _Key, trace_id: str, trace: TraceInSession) -> None:
        """Take what is known of a trace now."""
        self.remove(key, trace_id)
        if not trace.is_turn:
            return
        if trace.turn is None:
            self._cut.add(key)
            return
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _Kept()
        self._kept.move_to_end(key)
        turn = TurnInSession(trace_id, trace, trace.turn)
        bisect.insort(kept.turns, turn, key=_order)
        self._count(kept, _chars(turn))

    def remove(self, key: _Key, trace_id: str) -> None:
        """Let a trace go as if it had never come."""
        kept = self._kept.get(key)
        place = next((n for n, turn in enumerate(kept.turns) if turn.trace_id == trace_id), None) if kept else None
        if kept is not None and place is not None:
            self._count(kept, -_chars(kept.turns.pop(place)))
            if not kept.turns:
                del self._kept[key]

    def forget(self, key: _Key) -> None:
        """Let a session go."""
        self._cut.discard(key)
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._chars -= kept.chars

    def conversation(self, key: _Key, part: SessionPart) -> Conversation:
        """Return a session as checks see it."""
        kept = self._kept.get(key)
        return Conversation(
            routing_key=part.routing_key,
            session_id=part.named or part.session_id,
            part=part.part,
            is_closed=part.is_closed,
            is_cut=key in self._cut,
            turns=tuple(kept.turns) if kept is not None else (),
            compared_turns=self._config.compared_turns,
        )

    def unsettled(self, key: _Key) -> Callable[[str], bool]:
        """Return a question to trace ids: whether anything is still to be said, or taken back, about that trace."""
        if key not in self._cut:
            return lambda _: True
        kept = self._kept.get(key)
        turns = kept.turns[self._config.compared_turns :] if kept is not None else ()
        return frozenset(turn.trace_id for turn in turns).__contains__

    def overflow(self, key: _Key) -> list[tuple[_Key, str]]:
        """Let turns go until the bounds hold: the oldest of this session, then all of the sessions touched least."""
        gone: list[tuple[_Key, str]] = []
        kept = self._kept.get(key)
        while kept is not None and len(kept.turns) > self._config.max_turns:
            gone.append((key, self._drop_oldest(key, kept)))
        while self._chars > self._max_chars and self._kept:
            oldest, other = next(iter(self._kept.items()))
            while other.turns:
                gone.append((oldest, self._drop_oldest(oldest, other)))
            del self._kept[oldest]
        return gone

    def _drop_oldest(self, key: _Key, kept: _Kept) -> str:
        turn = kept.turns.pop(0)
        self._cut.add(key)
        self._count(kept, -_chars(turn))
        return turn.trace_id

    def _count(self, kept: _Kept, chars: int) -> None:
        kept.chars += chars
        self._chars += chars


def _order(turn: TurnInSession) -> tuple[int, str]:
    return turn.order


def _chars(turn: TurnInSession) -> int:
    return len(turn.question) + len(turn.answer) + _OVERHEAD_CHARS
