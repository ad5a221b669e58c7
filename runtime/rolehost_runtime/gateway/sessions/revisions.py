"""Where a session lives: which revision takes its next turn. Pure over the tables."""

from dataclasses import dataclass

from rolehost_api.errors import NotFound, Unavailable
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry, Tables


@dataclass(frozen=True, slots=True)
class Settled:
    revision: RevisionEntry
    reason: str = ""
    """Why it is another one than before; empty where it stays."""


def label(revision: RevisionEntry) -> str:
    """`@r3`: how clients are told of a revision."""
    return f"@r{revision.spec.sequence}"


def find(tables: Tables, role: RoleEntry, wanted: str) -> RevisionEntry:
    """The Role's revision called `r3`, `storyteller-9c1f9c1f9c` or `sha256:9c1f…`. Raises NotFound."""
    wanted = wanted.removeprefix("@")
    digest = wanted.removeprefix("sha256:") if wanted.startswith("sha256:") else ""
    for revision in tables.revisions.values():
        if revision.tenant != role.tenant or revision.spec.role_name != role.name:
            continue
        by_hash = len(digest) >= 6 and revision.spec.hash.startswith(digest)
        if by_hash or wanted in (revision.name, f"r{revision.spec.sequence}"):
            return revision
    raise NotFound("this Role has no such revision", hint="`kubectl get rhv` lists them", code="revision_not_found")


def settle(tables: Tables, role: RoleEntry, pinned: str, *, wanted: str = "", idle_ms: int | None = None) -> Settled:
    """The revision of a session's next turn: its pin, unless there is a reason to leave it.

    New session                                      -> stable (or the one that was asked for)
    Pinned, revision there, spoke lately             -> the pin
    Another one was asked for by address             -> that one, "requested"
    The Role follows (development)                   -> stable, "follow"
    Silent for longer than idleTimeoutSeconds        -> stable, "idle"
    The pin's revision, or its last pod, is gone     -> stable, "revision_gone"; never an error

    Raises Unavailable `no_ready_revision` where stable is needed and there is none.
    """
    stable = tables.revisions.get(role.tenant.name, role.stable) if role.stable else None
    current = tables.revisions.get(role.tenant.name, pinned) if pinned else None
    asked = tables.revisions.get(role.tenant.name, wanted) if wanted else None
    if asked is not None:
        return Settled(asked, "requested" if pinned and asked.name != pinned else "")
    if stable is None:
        if current is not None:
            return Settled(current)
        raise Unavailable(
            "this Role has no revision that is ready yet",
            hint="`kubectl describe rhr` says what it waits for",
            code="no_ready_revision",
        )
    if not pinned or pinned == stable.name:
        return Settled(stable)
    if current is None or not _has_pods(tables, current):
        return Settled(stable, "revision_gone")
    if role.follow:
        return Settled(stable, "follow")
    if idle_ms is not None and idle_ms > 1000 * role.spec.sessions.idle_timeout_seconds:
        return Settled(stable, "idle")
    return Settled(current)


def _has_pods(tables: Tables, revision: RevisionEntry) -> bool:
    return any(not pod.leaving for pod in tables.pods.of(revision.tenant, revision.name))
