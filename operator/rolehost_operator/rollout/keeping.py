"""Which revisions a rollout needs: those that must have pods, and those that must not be forgotten."""

from collections.abc import Iterator

from rolehost_api.crd.role import RoleSpec, RoleStatus
from rolehost_api.crd.rollout import Strategy
from rolehost_operator.rollout.naming import resolve
from rolehost_operator.rollout.scene import Outcome, Scene
from rolehost_operator.rollout.table import Stage


def essential(scene: Scene, outcome: Outcome) -> set[str]:
    """Revisions that have or get pods whatever comes: they take sessions, or are about to.

    What the status still says of before is among them until it says otherwise: gateways read it.
    """
    named = {outcome.stable, outcome.canary, *(one.revision for one in outcome.traffic)}
    named |= {*_in_use(scene.status), *on_the_way(scene, outcome)}
    rollout = outcome.rollout
    if rollout and rollout.stage == Stage.WATCHING.value:
        named.add(rollout.previous)
    return named & scene.revisions.keys()


def on_the_way(scene: Scene, outcome: Outcome) -> set[str]:
    """Revisions that get pods and take no sessions yet."""
    declared, rollout = scene.declared, outcome.rollout
    named = set()
    if declared.pinned_revision:
        named.add(resolve(declared.pinned_revision, scene.revisions.values()))
    elif declared.strategy is Strategy.ALL_AT_ONCE or not outcome.stable:
        named.add(scene.latest)
    if rollout and rollout.stage == Stage.PREPARING.value:
        named |= {rollout.revision, *(one.revision for one in rollout.variants)}
    return (named & scene.revisions.keys()) - {outcome.stable}


def _in_use(status: RoleStatus) -> set[str]:
    return {status.stable_revision, status.canary_revision, *(one.revision for one in status.traffic)}


def remembered(spec: RoleSpec, status: RoleStatus, scene: Scene | None, outcome: Outcome | None) -> set[str]:
    """Revisions that are never deleted, however many newer ones there are."""
    return set(_named(spec, status, scene, outcome))


def _named(spec: RoleSpec, status: RoleStatus, scene: Scene | None, outcome: Outcome | None) -> Iterator[str]:
    yield from _in_use(status)
    yield from (one.revision for one in status.leaving)
    rollout = status.rollout
    if rollout and rollout.stage:
        yield from (rollout.revision, rollout.previous, *(one.revision for one in rollout.variants))
    if scene is not None and outcome is not None:
        yield from essential(scene, outcome)
        yield from (one.revision for one in outcome.leaving)
        words = [spec.rollout.pinned_revision, *(one.revision for one in spec.rollout.variants)]
        yield from (resolve(word, scene.revisions.values()) for word in words)
