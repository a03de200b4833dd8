"""The schema of the records through the releases, by Alembic.

Every process calls `migrate` at its start. One of them works, in one transaction and under a lock; the others wait and
find it done. Versions are numbers. They only add (tables, columns with defaults, indices), so that processes of the
release before go on writing beside those of this one while an upgrade rolls; at its next start the older release
refuses, by the number in `totals`, where the first release kept it.
"""

from typing import Final

import sqlalchemy as sa

from core.errors import PermanentError
from sinks.records import schema
from sinks.records.engine import Database

# not Alembic's usual name: a database that is shared with MLflow holds that one already
VERSION_TABLE: Final = "clearwatch_records_version"
_FOLDER: Final = "sinks.records:migrations"


class RecordsSchemaError(PermanentError):
    """The tables are not those that this release works with."""


def migrate(database: Database) -> None:
    """Bring the tables to `schema.SCHEMA_VERSION`; nothing happens where they are.

    Raises RecordsSchemaError where they belong to a newer release or to somebody else, and what `Database` raises;
    then nothing has changed.
    """
    with database.migrating() as connection:
        if not database.is_sqlite:
            _refuse_encoding(connection)
        found = version_of(connection)
        _refuse_newer(found)
        if found == schema.SCHEMA_VERSION:
            return
        if not found:
            _refuse_foreign(connection)
        _upgrade(connection, found)
        connection.execute(
            schema.upsert(schema.totals, database.dialect), {"name": "schema", "value": schema.SCHEMA_VERSION}
        )


def check(database: Database) -> None:
    """Check that there are records that this release can read; an SQLite file of an older one is upgraded.

    Raises RecordsSchemaError, and what `Database` raises.
    """
    with database.reading() as connection:
        found = version_of(connection)
    _refuse_newer(found)
    if not found:
        raise RecordsSchemaError("there are no records yet: start `clearwatch up`, or a role that writes them")
    if found == schema.SCHEMA_VERSION:
        return
    if not database.is_sqlite:
        raise RecordsSchemaError(
            f"records have schema {found}, this release reads {schema.SCHEMA_VERSION}: the first process of this "
            "release that starts upgrades them"
        )
    migrate(database)


def version_of(connection: sa.Connection) -> int:
    """Return the version of the tables; 0 where there are none."""
    tables = sa.inspect(connection)
    if tables.has_table(VERSION_TABLE):
        version = sa.column("version_num", sa.String)
        found = connection.scalar(sa.select(version).select_from(sa.table(VERSION_TABLE, version)))
        return int(found) if found else 0
    if tables.has_table(schema.totals.name):  # the first release kept its number there
        return connection.scalar(sa.select(schema.totals.c.value).where(schema.totals.c.name == "schema")) or 0
    return 0


def _refuse_newer(found: int) -> None:
    if found > schema.SCHEMA_VERSION:
        raise RecordsSchemaError(
            f"records have schema {found}, this release reads up to {schema.SCHEMA_VERSION}: upgrade, or name another "
            "`sinks.records.url`"
        )


def _refuse_encoding(connection: sa.Connection) -> None:
    encoding = connection.scalar(sa.text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise RecordsSchemaError(
            f"the database of the records has encoding {encoding}: create one with ENCODING 'UTF8'"
        )


def _refuse_foreign(connection: sa.Connection) -> None:
    foreign = sorted(set(schema.metadata.tables).intersection(sa.inspect(connection).get_table_names()))
    if foreign:
        raise RecordsSchemaError(
            f"the database holds tables of somebody else ({', '.join(foreign)}): give the records a database of their "
            "own with `sinks.records.url`"
        )


def _upgrade(connection: sa.Connection, found: int) -> None:
    # 0.1 s to import, which a start with nothing to upgrade is spared
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", _FOLDER)
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    if found and not sa.inspect(connection).has_table(VERSION_TABLE):
        command.stamp(config, f"{found:04}")
    command.upgrade(config, "head")
