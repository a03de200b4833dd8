"""What every sink does with fetched records before it looks inside: stop at those that a newer release wrote."""

import logging
from collections.abc import Iterator, Sequence

from core import topics
from core.errors import SchemaTooNewError
from core.log.port import Fetch, Reader, StoredRecord

logger = logging.getLogger(__name__)


def readable(fetch: Fetch, reader: Reader) -> Iterator[tuple[int, Sequence[StoredRecord]]]:
    """Yield (partition, records) up to the first record of a newer schema; such a partition is paused, never skipped.

    Its offset stays where it is: after an upgrade it goes on from there.
    """
    for (topic, partition), records in fetch.records.items():
        too_new = next((i for i, record in enumerate(records) if _schema_of(record) > topics.SCHEMA), len(records))
        if too_new < len(records):
            error = SchemaTooNewError(topic=topic, schema=_schema_of(records[too_new]), supported=topics.SCHEMA)
            logger.error("%s[%d]@%d: %s", topic, partition, records[too_new].offset, error)
            reader.pause([(topic, partition)])
        if too_new:
            yield partition, records[:too_new]


def _schema_of(record: StoredRecord) -> int:
    text = record.headers.get(topics.HEADER_SCHEMA, "")
    return int(text) if text.isdigit() else topics.SCHEMA
