"""The section `sinks.records`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

FILE_NAME = "records.sqlite3"


class RecordsConfig(BaseModel):
    """Where the read side is kept, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr = SecretStr("")
    """An SQLAlchemy URL; empty: an SQLite file in the data directory. It may hold a password."""
    retention_days: float = Field(default=30.0, gt=0)
    """Traces, findings and sessions are deleted this long after they were last written. Issues are kept."""

    def url_in(self, data_dir: Path) -> str:
        """Return the URL to open: the configured one, else the file in `data_dir`."""
        return self.url.get_secret_value() or sqlite_url(data_dir / FILE_NAME)


def sqlite_url(path: Path) -> str:
    """Return the SQLAlchemy URL of an SQLite file."""
    return f"sqlite:///{path}"
