"""How a report names what it must not repeat."""

from typing import Final

# of shorter values the ends would tell too much
_LEAST_FOR_TWO: Final = 12


def masked(value: str) -> str:
    """Return the first and the last characters of a value, two each of long ones, and its length: `41…11 (16)`."""
    length = len(value)
    if length < 4:
        return f"… ({length})"
    shown = 2 if length >= _LEAST_FOR_TWO else 1
    return f"{value[:shown]}…{value[-shown:]} ({length})"
