"""The findings of one issue, known by hashes, so that nothing is counted twice for as long as it may be repeated.

A member is one packed value of 44 bytes under the 16-byte hash of its finding id: issue, trace hash, session hash, log
time, number. Numbers grow with each member of an issue, so that the order survives a restore whatever order the store
returns. Forgetting a member (age, bounds) leaves the counts of its issue; removing one (withdrawal) corrects them.
"""

import hashlib
import struct
from collections.abc import Iterator

import msgspec

NONE = bytes(8)
"""Hash of an absent trace or session id."""
_PACKED = struct.Struct(">16s8s8sdI")


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One finding as an issue remembers it."""

    issue: bytes
    trace: bytes
    session: bytes
    at_s: float
    number: int

    def pack(self) -> bytes:
        """Return its 44 bytes."""
        return _PACKED.pack(self.issue, self.trace, self.session, self.at_s, self.number)


def unpack(value: bytes) -> Member:
    """Return the member of `Member.pack`."""
    issue, trace, session, at_s, number = _PACKED.unpack(value)
    return Member(issue=issue, trace=trace, session=session, at_s=at_s, number=number)


def hash16(text: str) -> bytes:
    """Return 16 bytes for an id of any form."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def hash8(text: str) -> bytes:
    """Return 8 bytes for a trace or session id, `NONE` for an empty one."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() if text else NONE


class Members:
    """Members of one issue in the order in which they came, with the distinct traces and sessions among them."""

    def __init__(self) -> None:
        self._packed: dict[bytes, bytes] = {}
        self._traces: dict[bytes, int] = {}
        self._sessions: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._packed)

    @property
    def trace_count(self) -> int:
        """Return the distinct traces remembered."""
        return len(self._traces)

    @property
    def session_count(self) -> int:
        """Return the distinct sessions remembered."""
        return len(self._sessions)

    def add(self, finding: bytes, member: Member) -> tuple[int, int]:
        """Take a finding that is not a member; return how many traces and sessions are new with it (0 or 1 each)."""
        self._packed[finding] = member.pack()
        return _hold(self._traces, member.trace), _hold(self._sessions, member.session)

    def remove(self, finding: bytes) -> tuple[int, int]:
        """Drop a finding; return how many traces and sessions are gone with it (0 or 1 each)."""
        member = unpack(self._packed.pop(finding))
        return _release(self._traces, member.trace), _release(self._sessions, member.session)

    def oldest(self) -> tuple[bytes, float] | None:
        """Return the finding that came first and its log time."""
        for finding, packed in self._packed.items():
            return finding, unpack(packed).at_s
        return None


def _hold(counts: dict[bytes, int], key: bytes) -> int:
    if key == NONE:
        return 0
    counts[key] = counts.get(key, 0) + 1
    return int(counts[key] == 1)


def _release(counts: dict[bytes, int], key: bytes) -> int:
    if key == NONE:
        return 0
    counts[key] -= 1
    if counts[key]:
        return 0
    del counts[key]
    return 1
