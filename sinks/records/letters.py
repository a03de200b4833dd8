"""Dead letters in the records: a table of their own, so that people can look at them and have them replayed.

A letter comes once, whatever the log repeats: its id is made of what it holds. Only `replays` and `replayed_at_s` ever
change. What is kept is bounded by age, number and bytes; the oldest go first.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, TypeAlias

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from core import topics
from core.dead_letters import id_of
from core.topics import DeadLetter, LetterKind
from sinks.records import schema
from sinks.records.queries import AmbiguousIdError, UnknownIdError
from sinks.records.views import LetterDetail, LetterRow, StoredLetter, rfc3339

MAX_LETTERS: Final = 20_000
MAX_BYTES: Final = 1 << 30
MAX_AGE_S: Final = topics.RETENTION_H[topics.DEAD_LETTERS] * 3600.0
_DELETE_AT_ONCE: Final = 500
_TEXT: Final = sa.String().with_variant(postgresql.VARCHAR(collation="C"), "postgresql")

dead_letters = sa.Table(
    "dead_letters",
    schema.metadata,
    sa.Column("letter_id", _TEXT, primary_key=True),
    sa.Column("stage", _TEXT, nullable=False),
    sa.Column("at_s", sa.Double, nullable=False),  # log time of the letter
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("replays", sa.BigInteger, nullable=False),
    sa.Column("replayed_at_s", sa.Double, nullable=False),
    sa.Column("head", sa.LargeBinary, nullable=False),  # the letter without its bytes
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("dead_letters_order", "at_s", "letter_id"),
)

Transaction: TypeAlias = Callable[[], AbstractContextManager[sa.Connection]]


class LetterBook:
    """The table. `reading` and `writing` are the store's transactions. Blocking; thread-safe."""

    def __init__(self, dialect: str, *, reading: Transaction, writing: Transaction) -> None:
        self._reading = reading
        self._writing = writing
        insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
        self._insert = insert(dead_letters).on_conflict_do_nothing(index_elements=["letter_id"])

    def take(self, letters: Sequence[tuple[DeadLetter, int]]) -> None:
        """Store letters with the log time (ms) of each; those that are known change nothing."""
        rows = {id_of(letter): _row(letter, log_time_ms) for letter, log_time_ms in letters}
        if rows:
            with self._writing() as connection:
                connection.execute(self._insert, [rows[letter_id] for letter_id in sorted(rows)])

    def latest(self, *, stage: str = "", since_s: float = 0.0, limit: int = 100) -> tuple[LetterRow, ...]:
        """Return letters, the newest first, of one stage or sink ("" for all)."""
        t = dead_letters
        columns = [column for column in t.c if column.name != "body"]
        query = sa.select(*columns).where(t.c.at_s >= since_s).order_by(t.c.at_s.desc(), t.c.letter_id.desc())
        with self._reading() as connection:
            rows = connection.execute(_of_stage(query, stage).limit(limit)).all()
        return tuple(LetterRow(**_shown(row)) for row in rows)

    def detail(self, given: str) -> LetterDetail:
        """Return one letter. Raises UnknownIdError, AmbiguousIdError."""
        with self._reading() as connection:
            row = self._one(connection, given)
        letter = _whole(row)
        return LetterDetail(**_shown(row), key=letter.key, value=letter.value)

    def stored(self, given: str) -> StoredLetter:
        """Return one letter to be replayed. Raises UnknownIdError, AmbiguousIdError."""
        with self._reading() as connection:
            row = self._one(connection, given)
        return StoredLetter(id=row.letter_id, letter=_whole(row), replays=row.replays)

    def ids(self, *, stage: str = "", with_replayed: bool = False) -> tuple[str, ...]:
        """Return the ids of all letters, the oldest first; of those replayed before only where asked for."""
        t = dead_letters
        query = _of_stage(sa.select(t.c.at_s, t.c.letter_id), stage)
        if not with_replayed:
            query = query.where(t.c.replays == 0)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        # many letters share a millisecond: there, the records' own order counts
        return tuple(row.letter_id for row in sorted(rows, key=lambda row: (row.at_s, *_place_of(row.letter_id))))

    def of_same_record(self, stored: StoredLetter) -> tuple[str, ...]:
        """Return the ids of all letters of this very record: every reader that failed on it has written one."""
        if stored.letter.kind is not LetterKind.RECORD:
            return (stored.id,)
        place = f"{stored.id.rpartition(':')[0]}:"
        t = dead_letters
        query = sa.select(t.c.letter_id).where(
            sa.func.substr(t.c.letter_id, 1, len(place)) == place, t.c.body == stored.letter.value
        )
        with self._reading() as connection:
            return tuple(connection.execute(query.order_by(t.c.letter_id)).scalars())

    def replayed(self, letter_ids: Sequence[str], *, now_s: float) -> None:
        """Note that letters were replayed."""
        t = dead_letters
        with self._writing() as connection:
            connection.execute(
                t.update().where(t.c.letter_id.in_(letter_ids)).values(replays=t.c.replays + 1, replayed_at_s=now_s)
            )

    def retain(self, *, now_s: float, max_letters: int = MAX_LETTERS, max_bytes: int = MAX_BYTES) -> tuple[int, int]:
        """Delete some of what is too old or too much; return how many rows of each. Call again while there were any."""
        t = dead_letters
        newest_first = (t.c.at_s.desc(), t.c.letter_id.desc())
        ranked = sa.select(
            t.c.letter_id,
            t.c.at_s,
            sa.func.row_number().over(order_by=newest_first).label("rank"),
            sa.func.sum(t.c.size_bytes).over(order_by=newest_first).label("total_bytes"),
        ).subquery()
        too_much = sa.or_(ranked.c.rank > max_letters, ranked.c.total_bytes > max_bytes)
        old = sa.select(t.c.letter_id).where(t.c.at_s < now_s - MAX_AGE_S)
        with self._writing() as connection:
            aged = self._delete(connection, old.order_by(t.c.at_s))
            excess = self._delete(connection, sa.select(ranked.c.letter_id).where(too_much).order_by(ranked.c.at_s))
        return aged, excess

    def _delete(self, connection: sa.Connection, chosen: sa.Select[tuple[str]]) -> int:
        ids = sorted(connection.execute(chosen.limit(_DELETE_AT_ONCE)).scalars())
        if not ids:
            return 0
        return connection.execute(dead_letters.delete().where(dead_letters.c.letter_id.in_(ids))).rowcount

    def _one(self, connection: sa.Connection, given: str) -> Any:
        """Return the row of an id, of `topic:partition:offset`, or of a unique prefix."""
        wanted = given.strip()
        fitting = self._starting_with(connection, wanted) if wanted else []
        # 3:4 means offset 4, and 41 only where there is no 4
        found = [wanted] if wanted in fitting else self._starting_with(connection, f"{wanted}:") or fitting
        if not found:
            raise UnknownIdError(what="dead letter", given=given)
        if len(found) > 1:
            raise AmbiguousIdError(what="dead letter", given=given, fitting=found)
        return connection.execute(sa.select(dead_letters).where(dead_letters.c.letter_id == found[0])).one()

    def _starting_with(self, connection: sa.Connection, prefix: str) -> list[str]:
        column = dead_letters.c.letter_id
        query = sa.select(column).where(sa.func.substr(column, 1, len(prefix)) == prefix).order_by(column).limit(6)
        return list(connection.execute(query).scalars())


def _place_of(letter_id: str) -> tuple[str, int, int]:
    """Return topic, partition and offset."""
    topic, partition, offset, _ = letter_id.rsplit(":", 3)
    return topic, int(partition), int(offset)


def _of_stage(query: sa.Select[Any], stage: str) -> sa.Select[Any]:
    # the label of a sink is `sink.NAME`; people may leave the first part out
    return query.where(dead_letters.c.stage.in_([stage, f"sink.{stage}"])) if stage else query


def _row(letter: DeadLetter, log_time_ms: int) -> dict[str, Any]:
    return {
        "letter_id": id_of(letter).replace("\x00", "\ufffd"),
        "stage": letter.stage.replace("\x00", "\ufffd"),
        "at_s": log_time_ms / 1000,
        "size_bytes": len(letter.value),
        "replays": 0,
        "replayed_at_s": 0.0,
        "head": msgspec.msgpack.encode(msgspec.structs.replace(letter, value=b"")),
        "body": letter.value,
    }


def _whole(row: Any) -> DeadLetter:
    return msgspec.structs.replace(msgspec.msgpack.decode(row.head, type=DeadLetter), value=row.body)


def _shown(row: Any) -> dict[str, Any]:
    letter = msgspec.msgpack.decode(row.head, type=DeadLetter)
    return {
        "id": row.letter_id,
        "at": rfc3339(round(row.at_s * 1e9)),
        "stage": letter.stage,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "kind": letter.kind,
        "error_type": letter.error_type,
        "error": letter.error,
        "size_bytes": row.size_bytes,
        "schema": letter.schema,
        "build": letter.build,
        "headers": letter.headers,
        "replays": row.replays,
        "replayed_at": rfc3339(round(row.replayed_at_s * 1e9)) if row.replays else None,
    }
