"""Where a session lives: which revision takes its next turn. Pure over the tables."""

from dataclasses import dataclass

from rolehost_api.errors import Forbidden, NotFound, Unavailable
from rolehost_runtime.core.departing import Fate, departing
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry, Tables


@dataclass(frozen=True, slots=True)
class Settled:
    revision: RevisionEntry
    reason: str = ""
    """Why it is another one than before; empty where it stays."""
    is_assigned: bool = False
    """By its bucket, now: the session is new, or was silent for so long that it is as good as new."""


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


def named(tables: Tables, role: RoleEntry, principal: Principal, wanted: str) -> str:
    """Name of the revision that this caller is to have instead of what everybody gets; empty: none.

    A tenant's own keys may name any. An end user's token names one or none, and its holder can name no other: whoever
    could choose a revision would choose their side of a comparison. Raises Forbidden `revision_not_allowed`, NotFound.
    """
    if principal.until_ms is None:
        return find(tables, role, wanted).name if wanted else ""
    try:
        given = find(tables, role, principal.revision).name if principal.revision else ""
        if not wanted or (given and find(tables, role, wanted).name == given):
            return given
    except NotFound:  # it is gone by now: nothing is said of which there are
        if not wanted:
            return ""
    raise Forbidden(
        "this token may not name a revision",
        hint="Leave it out; your server asks for a tester's token with `revision` in POST /v1/tokens",
        code="revision_not_allowed",
    )


def settle(
    tables: Tables,
    role: RoleEntry,
    pinned: str,
    *,
    wanted: str = "",
    idle_ms: int | None = None,
    opens: str = "",
    now_ms: int = 0,
) -> Settled:
    """The revision of a session's next turn: its pin, unless there is a reason to leave it.

    `opens` is where a session would open that began now: the revision of its bucket's share; empty: stable.

    New session                                      -> opens (or the one that was asked for)
    Pinned, revision there, spoke lately             -> the pin, whatever the shares are by now
    Another one was asked for by address             -> that one, "requested"
    The pin's revision, or its last pod, is gone     -> opens, "revision_gone"; never an error
    The pin's revision lost its new sessions         -> stable, "rollback", "promotion" or "experiment"; a drain waits
    The Role follows (development)                   -> stable, "follow", but for who is on a share of the traffic
    Silent for longer than idleTimeoutSeconds        -> opens, "idle"

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
    opening = (tables.revisions.get(role.tenant.name, opens) if opens else None) or stable
    if not pinned:
        return Settled(opening, is_assigned=True)
    if current is None or (current.name != stable.name and not has_pods(tables, current)):
        return Settled(opening, "revision_gone") if pinned != opening.name else Settled(opening)
    leaves = departing(role.leaving, pinned) if pinned != stable.name else None
    if leaves is not None and leaves.fate(now_ms) is not Fate.STAYS:
        return Settled(stable, leaves.reason)
    if role.follow and pinned != stable.name and all(share.revision != pinned for share in role.traffic.shares):
        return Settled(stable, "follow")
    if idle_ms is not None and idle_ms > 1000 * role.spec.sessions.idle_timeout_seconds:
        return Settled(opening, "idle" if opening.name != pinned else "", is_assigned=True)
    return Settled(current)


def has_pods(tables: Tables, revision: RevisionEntry) -> bool:
    """Whether any pod of it is there that is not about to go."""
    return any(not pod.leaving for pod in tables.pods.of(revision.tenant, revision.name))
