"""Where the price table comes from: a file that is named, else the one that an installed litellm ships."""

import importlib.util
import logging
from pathlib import Path
from typing import Final

from core.errors import PermanentError
from core.prices import PriceTable, price_table

_log = logging.getLogger(__name__)

# litellm's copy of its own table, of the day of its release
_IN_LITELLM: Final = "model_prices_and_context_window_backup.json"


class PricesError(PermanentError):
    """The file of prices that was named cannot be used: exit 2."""


def load_prices(path: str) -> PriceTable | None:
    """Read the table; None where none is named and none is installed.

    Raises PricesError where a file is named that cannot be read, or is no such table.
    """
    found = Path(path) if path else _installed()
    if found is None:
        _log.info(
            "only costs that clients send are known: install clearwatch[prices], or name a table in "
            "`detector.prices_file`"
        )
        return None
    try:
        table = price_table(found.read_bytes())
    except (OSError, ValueError) as exc:
        if path:
            raise PricesError(f"`detector.prices_file` ({path}) is no table of prices: {exc}") from exc
        _log.warning("costs are not worked out: %s is no table of prices: %s", found, exc)
        return None
    _log.info("prices of %d models read from %s", len(table), found)
    return table


def _installed() -> Path | None:
    # asked for without importing it, which takes seconds
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.origin:
        return None
    path = Path(spec.origin).with_name(_IN_LITELLM)
    return path if path.exists() else None
