"""Record headers as bytes and back. A few distinct sets cover all records, so both ways are remembered."""

from collections.abc import Mapping
from typing import Final

import msgspec

# distinct header sets remembered each way: experiments times signals times origins; beyond it the memory starts anew
_REMEMBERED: Final = 4096


class HeaderCodec:
    """Used by one thread at a time for each direction. Decoded mappings are shared: nobody may change them."""

    def __init__(self) -> None:
        self._encoded: dict[tuple[tuple[str, str], ...], bytes] = {}
        self._decoded: dict[bytes, Mapping[str, str]] = {}

    def encode(self, headers: Mapping[str, str]) -> bytes:
        """Return headers as a msgpack map."""
        items = tuple(headers.items())
        found = self._encoded.get(items)
        if found is None:
            if len(self._encoded) >= _REMEMBERED:
                self._encoded.clear()
            found = self._encoded[items] = msgspec.msgpack.encode(dict(items))
        return found

    def decode(self, encoded: bytes) -> Mapping[str, str]:
        """Return the headers of a stored record."""
        found = self._decoded.get(encoded)
        if found is None:
            if len(self._decoded) >= _REMEMBERED:
                self._decoded.clear()
            found = self._decoded[encoded] = msgspec.msgpack.decode(encoded, type=dict[str, str])
        return found
