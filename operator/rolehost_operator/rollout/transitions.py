"""What happened to a rollout between one status and the next, in a word each: for marks in time. Pure."""

from collections.abc import Iterator

from rolehost_api.crd.role import RoleStatus

BEGAN, STEPPED, STOPPED = "Began", "Stepped", "Stopped"
"""The others are the actions of `crd.rollout.Past`."""


def transitions(before: RoleStatus, after: RoleStatus) -> Iterator[str]:
    """In the order in which they may have happened: what ended, what began, how it got on.

    >>> from rolehost_api.crd.rollout import Past, RolloutStatus
    >>> stepping = RoleStatus(rollout=RolloutStatus(id="1-ab", stage="Stepping", step=1))
    >>> list(transitions(RoleStatus(), stepping))
    ['Began', 'Stepped']
    >>> ended = RoleStatus(rollout=RolloutStatus(id="1-ab"), history=[Past(revision="r2", action="RolledBack", at="t")])
    >>> list(transitions(stepping, ended)), list(transitions(ended, ended))
    (['RolledBack'], [])
    """
    known = before.history[0] if before.history else None
    ended = []
    for past in after.history:
        if past == known:
            break
        ended.append(past.action)
    yield from reversed(ended)
    rollout, was = after.rollout, before.rollout
    if rollout is None:
        return
    is_new = was is None or was.id != rollout.id
    if is_new and rollout.id:
        yield BEGAN
    if rollout.step > (0 if was is None or is_new else was.step):
        yield STEPPED
    if rollout.stage == STOPPED and (was is None or is_new or was.stage != STOPPED):
        yield STOPPED
