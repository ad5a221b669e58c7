"""Pods that revisions keep while a rollout goes on, whatever their own sessions."""

from collections.abc import Mapping

from rolehost_api.crd.role import RoleSpec
from rolehost_operator.desired.replicas import needed
from rolehost_operator.rollout.scene import Outcome, Scene
from rolehost_operator.rollout.table import Stage


def floors(scene: Scene, outcome: Outcome, spec: RoleSpec, sessions: Mapping[str, int]) -> dict[str, int]:
    """The new one: two, so that one slow pod is not the revision. The one that all may have to go back to: as many as
    all of the Role's sessions need, until the watch is over.
    """
    rollout = outcome.rollout
    if rollout is None or rollout.stage == Stage.IDLE.value:
        return {}
    new = {rollout.revision, *(one.revision for one in rollout.variants)}
    made = dict.fromkeys(new, scene.pods)
    if not rollout.variants:
        refuge = rollout.previous if rollout.stage == Stage.WATCHING.value else outcome.stable
        made[refuge] = needed(spec, sum(sessions.values()))
    return made
