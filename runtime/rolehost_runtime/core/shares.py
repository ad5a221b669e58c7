"""Which tenants take no new sessions while the store is short of memory. Pure.

Memory is shared by max-min fairness: nobody is cut below what all others that want more get, and what a small tenant leaves
is the large ones' to share. So a tenant that is over its share is one of those that take the most.
"""

from collections.abc import Collection, Mapping

CROWDED_PERCENT = 80
"""Of the store's memory. The rest is for the sessions that are there."""


def room_of(bound: int) -> int:
    """What all tenants together may take before any is refused, in bytes.

    >>> room_of(1_000)
    800
    """
    return bound * CROWDED_PERCENT // 100


def level_of(usages: Collection[int], room: int) -> int:
    """The share: how much each may take at most, so that all together take no more than `room`. One that takes less
    leaves the rest to the others.

    >>> level_of([10, 30, 500], 240)     # 10 and 30 take less than a third; 200 are left
    200
    >>> level_of([100, 200, 500], 240)   # everybody wants more than a third
    80
    >>> level_of([500], 240), level_of([10, 30], 240), level_of([], 240)     # alone: all of it
    (240, 240, 240)
    """
    left, many = room, len(usages)
    for usage in sorted(usages):
        share = left // many
        if usage > share:
            return share
        left, many = left - usage, many - 1
    return room


def over_share(usages: Mapping[str, int], used: int, bound: int) -> frozenset[str]:
    """The tenants that take no new sessions now: none below 80 % of the memory or without a bound (0), and above it those
    over their share.

    `usages` are estimates by tenant, in any unit: only how they stand to each other counts, and together they are taken
    for all that is used. One tenant alone is over its share as soon as 80 % are used: its own new sessions would be at the
    cost of those that it has.

    >>> sorted(over_share({"greedy": 900, "small": 100}, used=850, bound=1_000))
    ['greedy']
    >>> over_share({"greedy": 900, "small": 100}, used=800, bound=1_000), over_share({"greedy": 9}, 850, 0)
    (frozenset(), frozenset())
    >>> sorted(over_share({"a": 5, "b": 5}, used=850, bound=1_000)), sorted(over_share({"alone": 1}, 850, 1_000))
    (['a', 'b'], ['alone'])
    >>> over_share({"a": 0}, used=850, bound=1_000)     # others' keys fill the store
    frozenset()
    """
    room, total = room_of(bound), sum(usages.values())
    if not bound or used <= room or not total:
        return frozenset()
    taken = {tenant: usage * used // total for tenant, usage in usages.items()}
    level = level_of(taken.values(), room)
    return frozenset(tenant for tenant, usage in taken.items() if usage > level)
