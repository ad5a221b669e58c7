"""What runs of a Role's revisions, and what goes: pods by sessions and rollouts, revisions by the history's limit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rolehost_operator.observed import DeploymentSeen, Observed, RevisionSeen
from rolehost_operator.plan import Prune
from rolehost_operator.rollout import view
from rolehost_operator.rollout.keeping import essential, on_the_way, remembered
from rolehost_operator.rollout.scene import Outcome, Scene

MOST_LIVE = 3
"""Revisions of a Role with pods, once the newest serves; the one that is on its way comes on top."""


@dataclass(frozen=True, slots=True)
class Course:
    """Where the Role's rollout goes, and from what that was decided. No scene: nothing can be decided, all stays."""

    outcome: Outcome
    scene: Scene | None = None


def wanted(course: Course, latest: str) -> set[str]:
    """Revisions that have or get pods whatever their sessions."""
    outcome = course.outcome
    if course.scene is None:
        return {latest, outcome.stable, outcome.canary, *(one.revision for one in outcome.traffic)}
    return essential(course.scene, outcome)


def retired_since(observed: Observed, needed: set[str], now: datetime) -> dict[str, datetime]:
    names = {seen.revision for seen in observed.deployments} - needed
    return {name: observed.memory.retired_since.get(name, now) for name in sorted(names)}


def alive(
    observed: Observed, course: Course, needed: set[str], retired: Mapping[str, datetime], now: datetime
) -> tuple[list[RevisionSeen], timedelta | None]:
    """Revisions that keep or get pods, newest first, and when to look at the idle ones again.

    Those that the rollout wants; and an older one that has pods until it has been without
    sessions for 60 s, by the word of every gateway and counted from when it retired at the
    earliest. Where nobody reports, it stays. Past three the oldest goes, sessions or not:
    they move to the stable one at their next turn. Those that leave in an order that the
    status tells stay longest.
    """
    leaving = [one.revision for one in course.outcome.leaving]
    live: list[RevisionSeen] = []
    spare: list[RevisionSeen] = []
    waits: list[timedelta] = []
    for revision in sorted(observed.revisions, key=lambda seen: -seen.spec.sequence):
        name = revision.meta.name
        if name in needed:
            live.append(revision)
            continue
        if name not in retired:
            continue
        if name in observed.idle_since:
            left = max(observed.idle_since[name], retired[name]) + view.IDLE - now
            if left <= timedelta(0):
                continue
            waits.append(left)
        spare.append(revision)
    spare.sort(key=lambda seen: -leaving.index(seen.meta.name) if seen.meta.name in leaving else len(leaving))
    coming = on_the_way(course.scene, course.outcome) if course.scene else set()
    room = max(0, MOST_LIVE - len(needed - coming))
    live = sorted(live + spare[:room], key=lambda seen: -seen.spec.sequence)
    return live, min(waits, default=None)


def spoken_of(course: Course, latest: str) -> str:
    """Whose pods Ready speaks of: the newest revision's, or the stable one's where that is not to have any. A revision
    that is to be made yet is not there: nothing is Ready for its template.
    """
    if (
        course.scene is None
        or not latest
        or latest in essential(course.scene, course.outcome)
        or not course.outcome.stable
    ):
        return latest
    return course.outcome.stable


def idle_deployments(observed: Observed, live: list[RevisionSeen]) -> Iterator[Prune]:
    """Deployments of revisions that are not live any more.

    One whose revision is not (yet) seen is left alone: the garbage collector takes the
    real orphans.
    """
    kept = {revision.meta.name for revision in live}
    known = {revision.meta.name for revision in observed.revisions}
    for seen in observed.deployments:
        if seen.revision in known - kept and not seen.meta.deletion_timestamp:
            yield _prune(seen)


def old_revisions(observed: Observed, course: Course, live: list[RevisionSeen]) -> Iterator[Prune]:
    """Revisions past the history's limit that have no pods, and that no rollout, pin or session needs.

    Never the one with the highest number: the next one's number counts from it, and a
    number is not used twice.
    """
    spec = observed.role.spec
    if spec is None:
        return
    busy = {revision.meta.name for revision in live} | {seen.revision for seen in observed.deployments}
    busy |= remembered(spec, observed.role.status, course.scene, course.outcome)
    newest_first = sorted(observed.revisions, key=lambda seen: -seen.spec.sequence)
    history = [revision for revision in newest_first[1:] if revision.meta.name not in busy]
    for revision in history[spec.revision_history_limit :]:
        if not revision.meta.deletion_timestamp:
            yield _prune(revision)


def _prune(seen: DeploymentSeen | RevisionSeen) -> Prune:
    meta, raw = seen.meta, seen.raw
    return Prune(raw["apiVersion"], raw["kind"], meta.namespace, meta.name, meta.uid, meta.resource_version)
