"""`clearwatch` of the next release, as far as its records tell: one schema further than this one."""

from core import topics

topics.SCHEMA += 1  # type: ignore[misc] # before anything is imported that reads it

from clearwatch.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
