"""What else than the revision differs between the two sides, or changed while they were compared."""

import hashlib
from collections.abc import Iterable

from rolehost_api.crd.rollout import RolloutStatus
from rolehost_operator.rollout.scene import Scene
from rolehost_operator.rollout.table import Stage


def sides(rollout: RolloutStatus, stable: str) -> tuple[str, ...]:
    """The revisions that are compared, the one that the others are held against last."""
    others = [one.revision for one in rollout.variants] or [rollout.revision]
    against = rollout.previous if rollout.stage == Stage.WATCHING.value else stable
    return (*others, against)


def models(scene: Scene, names: Iterable[str]) -> str:
    """A hash of who answers for these revisions, and of what is declared of them."""
    said = "|".join(scene.revisions[name].backend for name in names if name in scene.revisions)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def confounders(scene: Scene, rollout: RolloutStatus, stable: str) -> tuple[str, ...]:
    found = []
    *others, against = sides(rollout, stable)
    theirs = _model(scene, against)
    for name in others:
        if (ours := _model(scene, name)) != theirs:
            found.append(f"another model: {name} is answered by {ours}, {against} by {theirs}")
    began = rollout.step + (rollout.stage == Stage.WATCHING.value)
    if rollout.epoch > began:
        found.append("a ModelBackend was changed meanwhile: evidence from before does not promote")
    return tuple(found)


def _model(scene: Scene, name: str) -> str:
    """ModelBackend and name of the model, as declared."""
    runs = scene.revisions.get(name)
    return runs.backend.partition("@")[0].rstrip("/") if runs else ""
