"""Which build of Clearwatch this process runs."""

import functools
from importlib.metadata import PackageNotFoundError, version


@functools.cache
def build_version() -> str:
    """Return the version of the installed package; "unknown" where it runs from a folder that is not installed."""
    try:
        return version("clearwatch")
    except PackageNotFoundError:
        return "unknown"
