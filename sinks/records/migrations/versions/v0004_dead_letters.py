"""Dead letters, to be looked at and replayed. Builds since the first release made the table without a version."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

_TEXT = sa.String().with_variant(postgresql.VARCHAR(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table where it is not there yet."""
    op.create_table(
        "dead_letters",
        sa.Column("letter_id", _TEXT, primary_key=True),
        sa.Column("stage", _TEXT, nullable=False),
        sa.Column("at_s", sa.Double, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("replays", sa.BigInteger, nullable=False),
        sa.Column("replayed_at_s", sa.Double, nullable=False),
        sa.Column("head", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    op.create_index("dead_letters_order", "dead_letters", ["at_s", "letter_id"], if_not_exists=True)
