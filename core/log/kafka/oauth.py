"""Tokens for SASL/OAUTHBEARER by the client credentials grant (RFC 6749, section 4.4)."""

import asyncio
import time
from typing import Final

import httpx

from core.errors import LogUnavailableError
from core.log.kafka_config import OauthConfig

_TIMEOUT_S: Final = 10.0
# renewed this long before it ends
_MARGIN_S: Final = 30.0
_DEFAULT_LIFE_S: Final = 300.0


class TokenSource:
    """Asks for a token and keeps it until shortly before it ends."""

    def __init__(self, config: OauthConfig) -> None:
        self._config = config
        self._token = ""
        self._valid_until_s = 0.0
        self._asking = asyncio.Lock()

    async def token(self) -> str:
        """Return a valid token. Raises LogUnavailableError where the endpoint gives none."""
        async with self._asking:
            if time.monotonic() < self._valid_until_s:
                return self._token
            form = {"grant_type": "client_credentials"}
            if self._config.scope:
                form["scope"] = self._config.scope
            login = (self._config.client_id, self._config.client_secret.get_secret_value())
            try:
                async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
                    answer = await client.post(self._config.token_url, data=form, auth=login)
                answer.raise_for_status()
                found = answer.json()
                token = str(found["access_token"])
                life_s = float(found.get("expires_in", _DEFAULT_LIFE_S))
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as exc:
                raise LogUnavailableError(
                    f"no token from {self._config.token_url}: {exc!r}; see `log.kafka.sasl.oauth`", retry_after_s=5.0
                ) from exc
            self._token = token
            self._valid_until_s = time.monotonic() + max(1.0, life_s - _MARGIN_S)
            return token
