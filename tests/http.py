"""The HTTP client of tests: `httpx.get` makes one for each call and loads all CA certificates, 40 ms of a processor.

A test that polls several processes ten times a second would take most of a small machine away from them. No connection
outlives its answer: the servers asked are killed and started again.
"""

from typing import Final

import httpx

# httpx waits 5 s for an answer; a server that starts beside other work on a small machine takes longer
TIMEOUT_S: Final = 60.0
CLIENT: Final = httpx.Client(trust_env=False, timeout=TIMEOUT_S, limits=httpx.Limits(max_keepalive_connections=0))
