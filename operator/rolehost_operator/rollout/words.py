"""What people tell a rollout by annotation, and which of it was carried out.

`<id>` is said once, whatever the rollout is at; `<id>/<place>` counts at that place only, so that it can be
said at the next one again. A place is the number of the step, `watch`, or `again` for a rollout that ended.
"""

from collections.abc import Mapping

from rolehost_api.crd.rollout import RolloutStatus
from rolehost_operator.rollout.scene import Scene
from rolehost_operator.rollout.table import Stage

PROMOTE, ABORT, AGAIN = "promote", "abort", "again"
"""AGAIN is not said but noted: the attempt began by a promotion of the one before."""


def place(rollout: RolloutStatus) -> str:
    """
    >>> place(RolloutStatus(stage="Stepping", step=2)), place(RolloutStatus(stage="Watching", step=3)), place(RolloutStatus())
    ('2', 'watch', 'again')
    """
    match Stage(rollout.stage):
        case Stage.IDLE:
            return AGAIN
        case Stage.WATCHING:
            return "watch"
        case _:
            return str(rollout.step)


def obeyed(rollout: RolloutStatus) -> dict[str, str]:
    """
    >>> obeyed(RolloutStatus(obeyed="promote 3-27d3/1, abort 3-27d3"))
    {'promote': '3-27d3/1', 'abort': '3-27d3'}
    """
    return dict(one.split(" ", 1) for one in rollout.obeyed.split(", ") if " " in one)


def noted(words: Mapping[str, str]) -> str:
    return ", ".join(f"{action} {word}" for action, word in words.items())


def said(scene: Scene, action: str) -> str:
    return scene.promote if action == PROMOTE else scene.abort


def carried_out(scene: Scene, rollout: RolloutStatus, action: str) -> str:
    """What to keep in `obeyed` if this action's word is to be carried out now; empty if it is void, or was already."""
    word, before = said(scene, action), obeyed(rollout)
    meant = word in (rollout.id, f"{rollout.id}/{place(rollout)}")
    return noted({**before, action: word}) if rollout.id and meant and before.get(action) != word else ""


def at_the_end(scene: Scene, rollout: RolloutStatus) -> str:
    """Words that still stand for a rollout that ends are void: else one of them would begin it again."""
    words = obeyed(rollout)
    for action in (PROMOTE, ABORT):
        if said(scene, action) in (rollout.id, f"{rollout.id}/{AGAIN}"):
            words[action] = said(scene, action)
    return noted(words)


def still_said(scene: Scene, rollout: RolloutStatus) -> str:
    """`obeyed` without what was taken back since: it may be said again."""
    return noted({action: word for action, word in obeyed(rollout).items() if action == AGAIN or said(scene, action)})
