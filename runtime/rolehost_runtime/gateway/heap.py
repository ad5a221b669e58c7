"""How often this process looks for garbage: seldom, because it holds much that lives long and makes few cycles.

By default Python looks through its youngest objects after every 700 new ones, and every 70,000 or so through all. When
thousands of sessions open within a second that is a large part of their cost, and one look through all of them is a
pause that every socket feels. What has no cycle goes at once all the same, by its count of references.
"""

import gc

YOUNG, MIDDLE, OLD = 20_000, 20, 50
"""New objects before the youngest are looked through; so many such looks before the middle ones are, and the old ones.
An event of a turn makes no cycle; a failed one some, of a few KiB: 20,000 objects are a few MiB that wait."""


def settle() -> None:
    """Once, when everything is loaded: what is there now stays, and is not looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
