"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

_TEXT = sa.String().with_variant(postgresql.VARCHAR(collation="C"), "postgresql")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "totals",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "traces",
        sa.Column("trace_id", _TEXT, primary_key=True),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("version", _TEXT, nullable=False),
        sa.Column("routing_key", _TEXT, nullable=False),
        sa.Column("session_id", _TEXT, nullable=False),
        sa.Column("provisional", sa.Integer, nullable=False),
        sa.Column("seen_at_s", sa.Double, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("traces_session", "traces", ["routing_key", "session_id"])
    op.create_index("traces_provisional", "traces", ["provisional"])
    op.create_index("traces_seen", "traces", ["seen_at_s"])
    op.create_table(
        "sessions",
        sa.Column("routing_key", _TEXT, primary_key=True),
        sa.Column("session_id", _TEXT, primary_key=True),
        sa.Column("first_s", sa.Double, nullable=False),
        sa.Column("last_s", sa.Double, nullable=False),
    )
    op.create_index("sessions_last", "sessions", ["last_s"])
    op.create_table(
        "findings",
        sa.Column("finding_id", _TEXT, primary_key=True),
        sa.Column("found_at", sa.BigInteger, nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger, nullable=False),
        sa.Column("trace_id", _TEXT, nullable=False),
        sa.Column("observed_at_ns", sa.BigInteger, nullable=False),
        sa.Column("seen_at_s", sa.Double, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("findings_order", "findings", ["observed_at_ns", "finding_id"])
    op.create_index("findings_trace", "findings", ["trace_id"])
    op.create_index("findings_standing", "findings", ["found_at", "withdrawn_at"])
    op.create_index("findings_seen", "findings", ["seen_at_s"])
    op.create_table(
        "issues",
        sa.Column("issue_id", _TEXT, primary_key=True),
        sa.Column("hex", _TEXT, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("status", _TEXT, nullable=False),
        sa.Column("last_seen_ns", sa.BigInteger, nullable=False),
        sa.Column("changed_at_s", sa.Double, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("issues_hex", "issues", ["hex"])
    op.create_index("issues_last_seen", "issues", ["status", "last_seen_ns"])
    op.create_table(
        "links",
        sa.Column("finding_id", _TEXT, primary_key=True),
        sa.Column("issue_id", _TEXT, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("standing", sa.Integer, nullable=False),
        sa.Column("observed_at_ns", sa.BigInteger, nullable=False),
        sa.Column("seen_at_s", sa.Double, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("links_issue", "links", ["issue_id", "observed_at_ns"])
    op.create_index("links_seen", "links", ["seen_at_s"])
    op.create_table(
        "filings",
        sa.Column("issue_id", _TEXT, primary_key=True),
        sa.Column("mlflow_issue_id", _TEXT, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("filings_mlflow", "filings", ["mlflow_issue_id"])
    op.create_table(
        "counters",
        sa.Column("instance", _TEXT, primary_key=True),
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("labels", _TEXT, primary_key=True),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("updated_at_s", sa.Double, nullable=False),
    )
