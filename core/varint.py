"""Base-128 varints of the protobuf wire format: https://protobuf.dev/programming-guides/encoding#varints."""

from typing import Final

from core.errors import SpanDecodeError

# 64 bits in groups of seven; upb refuses longer ones too
_MAX_VARINT_BYTES: Final = 10


def read_varint(data: bytes, pos: int, end: int) -> tuple[int, int]:
    """Return (value, position after it). Raises SpanDecodeError where it does not end before `end`."""
    value = shift = 0
    limit = min(end, pos + _MAX_VARINT_BYTES)
    while pos < limit:
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, pos
        shift += 7
    raise SpanDecodeError(f"bad varint at byte {pos}")
