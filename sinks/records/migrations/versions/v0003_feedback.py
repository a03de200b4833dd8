"""What people said of traces in MLflow. Builds between the first release and this one made it without a version."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

_TEXT = sa.String().with_variant(postgresql.VARCHAR(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table where it is not there yet."""
    op.create_table(
        "feedback",
        sa.Column("feedback_id", _TEXT, primary_key=True),
        sa.Column("trace_id", _TEXT, nullable=False),
        sa.Column("is_negative", sa.Integer, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("seen_at_s", sa.Double, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    op.create_index("feedback_trace", "feedback", ["trace_id"], if_not_exists=True)
    op.create_index("feedback_seen", "feedback", ["seen_at_s"], if_not_exists=True)
