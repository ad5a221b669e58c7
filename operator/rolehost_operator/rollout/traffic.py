"""Where new sessions go while a rollout goes on. Empty where all go to the stable revision."""

from rolehost_api.crd.rollout import Arm, RolloutStatus, Share, Strategy
from rolehost_operator.rollout.table import Stage

STABLE, CANARY, PREVIOUS, VARIANT = "stable", "canary", "previous", "variant"


def traffic(rollout: RolloutStatus, stable: str) -> tuple[Share, ...]:
    """In the order of buckets, so that a raised weight only adds to who was on the new revision before.

    >>> earning = RolloutStatus(revision="new", stage="Stepping", percent=5)
    >>> [(one.revision, one.percent, one.arm.value) for one in traffic(earning, "old")]
    [('new', 5, 'Candidate'), ('old', 95, 'Baseline')]
    >>> watched = RolloutStatus(revision="new", previous="old", stage="Watching", percent=95)
    >>> [(one.revision, one.percent, one.tag) for one in traffic(watched, "new")]
    [('new', 95, 'stable'), ('old', 5, 'previous')]
    >>> traffic(RolloutStatus(revision="new", stage="Stopped"), "old")
    ()
    """
    stage = Stage(rollout.stage)
    if stage is Stage.WATCHING:
        return (
            Share(revision=stable, percent=rollout.percent, tag=STABLE, arm=Arm.CANDIDATE),
            Share(revision=rollout.previous, percent=100 - rollout.percent, tag=PREVIOUS, arm=Arm.BASELINE),
        )
    if stage is not Stage.STEPPING:
        return ()
    if rollout.strategy is Strategy.EXPERIMENT:
        shares = [(one.revision, one.percent, VARIANT) for one in rollout.variants]
    else:
        shares = [(rollout.revision, rollout.percent, CANARY)]
    others = tuple(Share(revision=name, percent=part, tag=tag, arm=Arm.CANDIDATE) for name, part, tag in shares)
    rest = 100 - sum(part for _, part, _ in shares)
    return (*others, Share(revision=stable, percent=rest, tag=STABLE, arm=Arm.BASELINE))


def canary(rollout: RolloutStatus) -> str:
    """The revision that earns its traffic, or waits for a person to decide about it."""
    earns = Stage(rollout.stage) in (Stage.PREPARING, Stage.STEPPING, Stage.STOPPED)
    return rollout.revision if earns and rollout.strategy is not Strategy.EXPERIMENT else ""
