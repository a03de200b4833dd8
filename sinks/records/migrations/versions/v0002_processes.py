"""Each process says that it lives, so that it need not write counters that have not changed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

_TEXT = sa.String().with_variant(postgresql.VARCHAR(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "processes",
        sa.Column("instance", _TEXT, primary_key=True),
        sa.Column("seen_s", sa.Double, nullable=False),
    )
