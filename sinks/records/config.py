"""The section `sinks.records`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from core.errors import PermanentError

FILE_NAME = "records.sqlite3"


class RecordsConfig(BaseModel):
    """Where the read side is kept, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: SecretStr = SecretStr("")
    """A database: `sqlite:///FILE`, or `postgresql://USER:PASSWORD@HOST/DATABASE` (PostgreSQL 12 or newer, UTF-8, a
    database or schema of its own), which every role needs where roles run apart. Parameters of libpq may follow, e.g.
    `?sslmode=verify-full`. Empty: an SQLite file in the data directory. It may hold a password."""
    retention_days: float = Field(default=30.0, gt=0)
    """Traces, findings and sessions are deleted this long after they were last written. Issues are kept."""

    @field_validator("url")
    @classmethod
    def _is_usable(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value():
            # SQLAlchemy takes 0.15 s to import, which commands that read no records are spared
            from sinks.records.engine import parse_url

            try:
                parse_url(url.get_secret_value())
            except PermanentError as exc:
                raise ValueError(str(exc).removeprefix("`sinks.records.url` ")) from None
        return url

    def url_in(self, data_dir: Path) -> str:
        """Return the URL to open: the configured one, else the file in `data_dir`."""
        return self.url.get_secret_value() or sqlite_url(data_dir / FILE_NAME)


def sqlite_url(path: Path) -> str:
    """Return the SQLAlchemy URL of an SQLite file."""
    return f"sqlite:///{path}"
