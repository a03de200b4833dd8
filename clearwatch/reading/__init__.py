"""Commands that read: they ask the running process, or the records where none runs."""
