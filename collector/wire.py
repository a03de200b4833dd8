"""The protobuf wire format, as far as slicing needs it: varints, tags, skipping a field.

https://protobuf.dev/programming-guides/encoding. Rules as upb applies them: a varint has at most ten bytes, a tag fits
in 32 bits and its field number is not 0, groups nest at most 100 deep.
"""

from typing import Final, TypeAlias

from core.errors import SpanDecodeError
from core.varint import read_varint

LEN: Final = 2
Range: TypeAlias = tuple[int, int]

_VARINT, _I64, _START_GROUP, _END_GROUP, _I32 = 0, 1, 3, 4, 5
_MAX_TAG: Final = 1 << 32
# protobuf's default recursion limit
_MAX_GROUP_DEPTH: Final = 100


def read_tag(data: bytes, pos: int, end: int) -> tuple[int, int, int]:
    """Return (field number, wire type, position after it); `pos` is below `end`. Raises SpanDecodeError."""
    tag = data[pos]
    if 8 <= tag < 0x80:
        return tag >> 3, tag & 7, pos + 1
    tag, pos = read_varint(data, pos, end)
    if tag >= _MAX_TAG or tag < 8:
        raise SpanDecodeError(f"bad tag {tag} before byte {pos}")
    return tag >> 3, tag & 7, pos


def read_length(data: bytes, pos: int, end: int) -> Range:
    """Return (start, end) of a length-delimited value whose length is at `pos`. Raises SpanDecodeError."""
    if pos < end and data[pos] < 0x80:
        length, pos = data[pos], pos + 1
    else:
        length, pos = read_varint(data, pos, end)
    if length > end - pos:
        raise SpanDecodeError(f"length {length} at byte {pos} exceeds the {end - pos} bytes that are left")
    return pos, pos + length


def skip_value(data: bytes, pos: int, end: int, field: int, wire: int, depth: int = 0) -> int:
    """Return the position after a value of any wire type. Raises SpanDecodeError."""
    if wire == LEN:
        return read_length(data, pos, end)[1]
    if wire == _VARINT:
        return read_varint(data, pos, end)[1]
    if wire in (_I64, _I32):
        pos += 8 if wire == _I64 else 4
        if pos > end:
            raise SpanDecodeError(f"fixed-size field {field} ends beyond byte {end}")
        return pos
    if wire == _START_GROUP and depth < _MAX_GROUP_DEPTH:
        return _skip_group(data, pos, end, field, depth + 1)
    raise SpanDecodeError(f"wire type {wire} of field {field} before byte {pos}")


def _skip_group(data: bytes, pos: int, end: int, field: int, depth: int) -> int:
    while pos < end:
        inner, wire, pos = read_tag(data, pos, end)
        if wire == _END_GROUP:
            if inner != field:
                raise SpanDecodeError(f"group {field} is ended by {inner}")
            return pos
        pos = skip_value(data, pos, end, inner, wire, depth)
    raise SpanDecodeError(f"group {field} has no end")


def write_varint(value: int) -> bytes:
    """Return the shortest encoding of a number that is not negative."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
