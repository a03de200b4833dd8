"""Commands that read: they ask the running process, or the records where none runs."""

from clearwatch.reading.commands import COMMANDS

__all__ = ["COMMANDS"]
