"""`python -m clearwatch`."""

from clearwatch.cli import main

main()
