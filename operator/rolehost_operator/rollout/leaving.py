"""Revisions that lost their new sessions: how long those that are left stay, and when nothing is left."""

from collections.abc import Iterable, Set
from datetime import datetime, timedelta

from msgspec.structs import replace

from rolehost_api.crd.rollout import Leaving, MemoryPolicy, PromotionPolicy, Rollout, SessionPolicy
from rolehost_operator.rollout.scene import Scene
from rolehost_operator.rollout.times import NONE, moment, since, stamp

MOST = 4
AT_LEAST = timedelta(seconds=60)
"""So long a revision leaves at least: a gateway that had not heard of it yet may have opened a session on it."""
ROLLBACK, PROMOTION, EXPERIMENT = "rollback", "promotion", "experiment"


def rolled_back(revision: str, declared: Rollout, at: datetime) -> Leaving:
    policy = declared.rollback.session_policy
    return _leaving(revision, policy, ROLLBACK, declared, at, declared.rollback.memory)


def replaced(revision: str, declared: Rollout, at: datetime, reason: str = PROMOTION) -> Leaving:
    keeps = declared.promotion.session_policy is PromotionPolicy.KEEP
    return _leaving(revision, SessionPolicy.DRAIN if keeps else SessionPolicy.MIGRATE_AT_TURN, reason, declared, at)


def _leaving(
    revision: str,
    policy: SessionPolicy,
    reason: str,
    declared: Rollout,
    at: datetime,
    memory: MemoryPolicy = MemoryPolicy.KEEP,
) -> Leaving:
    drains = policy is SessionPolicy.DRAIN
    until = stamp(at + timedelta(seconds=declared.drain.max_seconds)) if drains else ""
    return Leaving(revision=revision, policy=policy, reason=reason, since=stamp(at), until=until, memory=memory)


def with_one(leaving: Iterable[Leaving], one: Leaving) -> tuple[Leaving, ...]:
    """The newest last; past four the oldest is let go, and its sessions move at their next turn for want of a pod."""
    return (*(other for other in leaving if other.revision != one.revision), one)[-MOST:]


def kept(leaving: Iterable[Leaving], scene: Scene, used: Set[str]) -> tuple[Leaving, ...]:
    """Without those that came back into use, are gone, or have no sessions any more; a drain that is over moves them."""
    return tuple(_over(one, scene.at) for one in leaving if one.revision not in used and not _left(one, scene))


def _left(one: Leaving, scene: Scene) -> bool:
    runs = scene.revisions.get(one.revision)
    return runs is None or (runs.idle and since(one.since, scene.at) >= AT_LEAST)


def _over(one: Leaving, at: datetime) -> Leaving:
    until = moment(one.until)
    if one.policy is SessionPolicy.DRAIN and until is not None and at >= until:
        return replace(one, policy=SessionPolicy.MIGRATE_AT_TURN, until="")
    return one


def look_in(leaving: Iterable[Leaving], at: datetime) -> timedelta | None:
    """When one of them is to be looked at again, if nothing rings."""
    waits = [until - at for one in leaving if (until := moment(one.until)) is not None]
    waits += [AT_LEAST - since(one.since, at) for one in leaving]
    return min((wait for wait in waits if wait > NONE), default=None)
