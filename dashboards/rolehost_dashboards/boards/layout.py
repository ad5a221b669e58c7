"""Where panels lie: rows of 24 columns, filled from the left. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.models.dashboard import GridPos

COLUMNS = 24
ROW_HEIGHT = 1


@dataclass(frozen=True, slots=True)
class Size:
    width: int
    height: int


def placed(sizes: Sequence[Size], top: int) -> tuple[list[GridPos], int]:
    """Their places from line `top` on, and the first line that is free below them.

    >>> places, below = placed([Size(16, 8), Size(8, 8), Size(24, 4)], 1)
    >>> [(place.x, place.y) for place in places], below
    ([(0, 1), (16, 1), (0, 9)], 13)
    """
    places: list[GridPos] = []
    x, y, tallest = 0, top, 0
    for size in sizes:
        if x + size.width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        places.append(GridPos(h=size.height, w=size.width, x=x, y=y))
        x, tallest = x + size.width, max(tallest, size.height)
    return places, y + tallest
