"""Ports for servers that tests start.

A port that the kernel hands out lies in the range of which it also serves outgoing connections: between being asked for
and being listened on, which may be seconds later or after a restart, one of the test's own clients can get it. So ports
are drawn from below that range, and none twice in a process.
"""

import random
import socket
from pathlib import Path
from typing import Final

# from here on a user may listen, and few services do
_LOWEST: Final = 10_000
_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
# IANA's range of dynamic ports begins here, for kernels that do not say
_DEFAULT_HIGHEST: Final = 32_000
_DRAWS: Final = 1_000

_given: set[int] = set()
# not the seeded generator of `random`: tests that seed it must not draw the same ports side by side
_draw = random.SystemRandom()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port on which nobody listens and that no outgoing connection gets. Raises OSError for none."""
    for _ in range(_DRAWS):
        port = _draw.randrange(_LOWEST, _highest())
        if port in _given:
            continue
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((host, port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise OSError(f"no free port on {host} in {_DRAWS} draws")


def _highest() -> int:
    try:
        lowest_outgoing = int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _DEFAULT_HIGHEST
    return lowest_outgoing if lowest_outgoing > _LOWEST + _DRAWS else _DEFAULT_HIGHEST
