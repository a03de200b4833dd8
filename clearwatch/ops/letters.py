"""The API of dead letters: `/api/v1/dead-letters`, one of them, and the one request of the ops API that changes things.

Replaying asks for what a page of another site cannot send without being asked first (a JSON body, and no foreign
Origin); on any address but loopback it asks for the token in its header, as everything there does.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request

from clearwatch.letters import Replay, Replayed
from core.errors import ClearwatchError
from sinks.records.store import RecordStore
from sinks.records.views import LetterDetail, LetterRow

Replaying: TypeAlias = Callable[[Replay], Awaitable[Replayed]]

_MAX_BODY_BYTES: Final = 1 << 20
_MAX_LIMIT: Final = 1_000
_DEFAULT_LIMIT: Final = 100


class BadRequestError(ClearwatchError):
    """A query parameter or a body cannot be used."""


class ForbiddenError(ClearwatchError):
    """A request that a page of another site may have sent."""


class LettersApi:
    """Answers for dead letters; raises BadRequestError, ForbiddenError and what the records and the log raise."""

    def __init__(self, store: RecordStore, replay: Replaying) -> None:
        self._store = store
        self._replay = replay

    async def list_(self, request: Request) -> tuple[LetterRow, ...]:
        """Return the newest, by `stage`, `since` (seconds since the epoch) and `limit`."""
        query = request.query_params
        try:
            limit = min(max(int(query.get("limit", _DEFAULT_LIMIT)), 1), _MAX_LIMIT)
            since_s = float(query.get("since", "0"))
        except ValueError as exc:
            raise BadRequestError(f"`limit` must be a number, `since` seconds since the epoch: {exc}") from exc
        if not math.isfinite(since_s):
            raise BadRequestError(f"`since` ({since_s}) must be seconds since the epoch")
        stage = query.get("stage", "")
        return await asyncio.to_thread(lambda: self._store.letters.latest(stage=stage, since_s=since_s, limit=limit))

    async def detail(self, request: Request) -> LetterDetail:
        """Return one with its bytes."""
        return await asyncio.to_thread(self._store.letters.detail, request.path_params["given"])

    async def replay(self, request: Request) -> Replayed:
        """Replay what the body (`Replay`) names."""
        _refuse_foreign(request)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                raise BadRequestError(f"the body is larger than {_MAX_BODY_BYTES} bytes: name fewer ids, or all")
        try:
            asked = msgspec.json.decode(bytes(body), type=Replay)
        except (msgspec.DecodeError, msgspec.ValidationError) as exc:
            raise BadRequestError(f"the body must be JSON with `ids` or `all`: {exc}") from exc
        if bool(asked.ids) == asked.all_:
            raise BadRequestError("the body must name either `ids` or `all`")
        return await self._replay(asked)


def _refuse_foreign(request: Request) -> None:
    """Raise ForbiddenError for what a browser sends for another site; what sends no Origin is no browser."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ForbiddenError("`Content-Type` must be application/json: a page of another site cannot send that")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise ForbiddenError(f"requests from {origin} are not taken")
