"""How many pods a revision should have: as many as its sessions need, more at once and fewer only after a calm while."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from rolehost_api.crd.role import RoleSpec

CALM = timedelta(seconds=120)
"""How long fewer must have been enough before any pod goes: people who leave may come back."""


@dataclass(frozen=True, slots=True)
class Ebb:
    """Fewer pods would do: since when, and the most that would have been needed in that time."""

    since: datetime
    most: int


@dataclass(frozen=True, slots=True)
class Count:
    replicas: int
    ebb: Ebb | None = None
    """To be handed back at the next look."""
    look_in: timedelta | None = None
    """When pods may go, if nothing else happens."""


def needed(role: RoleSpec, sessions: int) -> int:
    """ceil(sessions / target) within the Role's bounds, where a pod's target is never more than it may serve.

    >>> from rolehost_api.crd.role import RoleTemplate, Scaling, Sessions
    >>> role = RoleSpec(template=RoleTemplate(), scaling=Scaling(min_replicas=1, max_replicas=4))
    >>> [needed(role, sessions) for sessions in (0, 1, 32, 33, 64, 65, 1000)]
    [1, 1, 1, 2, 2, 3, 4]
    >>> small = RoleSpec(template=RoleTemplate(), sessions=Sessions(max_per_pod=10))
    >>> needed(small, 11)
    2
    """
    target = min(role.scaling.target_sessions_per_pod, role.sessions.max_per_pod)
    return _within(role, -(-sessions // target))


def _within(role: RoleSpec, count: int, floor: int = 0) -> int:
    return max(role.scaling.min_replicas, min(role.scaling.max_replicas, max(count, floor)))


def replicas(
    role: RoleSpec, sessions: int | None, there: int | None, ebb: Ebb | None, now: datetime, floor: int = 0
) -> Count:
    """Of one live revision with `sessions` over all gateways (None: not every gateway says) and `there` pods now.

    More pods come at once. Fewer come when 120 s have passed in which fewer would have done,
    and then as many stay as were needed at the busiest moment of that time. What is not
    known changes nothing, but the Role's bounds are obeyed at once. `floor`: so many are wanted
    within the bounds, sessions or not.

    >>> from datetime import UTC
    >>> from rolehost_api.crd.role import RoleTemplate
    >>> role, noon = RoleSpec(template=RoleTemplate()), datetime(2030, 1, 1, 12, tzinfo=UTC)
    >>> replicas(role, 100, 1, None, noon).replicas, replicas(role, None, 3, None, noon).replicas
    (4, 3)
    >>> first = replicas(role, 10, 4, None, noon)
    >>> first.replicas, first.ebb.most, first.look_in.seconds
    (4, 1, 120)
    >>> busier = replicas(role, 50, 4, first.ebb, noon + timedelta(seconds=60))
    >>> busier.replicas, busier.ebb.most, busier.look_in.seconds
    (4, 2, 60)
    >>> replicas(role, 10, 4, busier.ebb, noon + CALM).replicas
    2
    >>> replicas(role, 0, 1, None, noon, floor=2).replicas, replicas(role, 0, None, None, noon, floor=99).replicas
    (2, 10)
    """
    if there is None:
        return Count(_within(role, needed(role, sessions or 0), floor))
    there = _within(role, there, floor)
    if sessions is None:
        return Count(there)
    wanted = _within(role, needed(role, sessions), floor)
    if wanted >= there:
        return Count(wanted)
    ebb = Ebb(ebb.since if ebb else now, max(wanted, ebb.most if ebb else 0))
    left = ebb.since + CALM - now
    if left > timedelta(0):
        return Count(there, ebb, left)
    return Count(min(there, ebb.most))
