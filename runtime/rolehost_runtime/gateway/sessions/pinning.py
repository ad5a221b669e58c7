"""Which revision one session is on, and what makes it another.

A pin is the memory of whoever answers the session, and the log's newest record is what it is made of anew; so two
gateways may believe in different pins for a moment, when one has not heard yet that a revision is left. That does no
harm: a turn's revision is decided by its session's owner when it begins, and only the owner's epoch can append, so each
turn is of one revision, and none is lost or doubled by which it was. Moving a session raises no epoch for the same
reason: nothing moves but where the next turn runs.
"""

from rolehost_api.crd.rollout import Arm, Share
from rolehost_api.errors import Unavailable
from rolehost_api.wire import WITHDRAWN, Error, RevisionChanged, error_body
from rolehost_runtime.core.assignment import Assignment
from rolehost_runtime.core.departing import Departing, Fate, departing
from rolehost_runtime.core.schema import readable
from rolehost_runtime.core.session import SessionFold
from rolehost_runtime.gateway.ports import Head
from rolehost_runtime.gateway.sessions.audience import Audience
from rolehost_runtime.gateway.sessions.revisions import Settled, find, label, settle
from rolehost_runtime.gateway.sessions.routing import Unit
from rolehost_runtime.gateway.sessions.world import World
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry

Stands = SessionFold | Head
"""Where a session stands: its fold, or the head of one whose log was not read."""


class Pinning:
    def __init__(self, world: World, key: str, session_id: str, user: str | None, audience: Audience) -> None:
        self._world, self._key, self._session_id, self._audience = world, key, session_id, audience
        self.pinned = ""
        """Name of the revision; empty where nothing says."""
        self.wanted = ""
        """A revision that was asked for, by address or by a message; the session moves there with its next turn."""
        self.assignment: Assignment | None = None
        self._unit = Unit(user, known=True) if user else Unit(key, known=False)
        self._unclaimed: Share | None = None
        """What it was given, and nobody has asked yet whether its unit is compared by it."""

    def came(self, revision: str) -> None:
        """Its log says that its newest turn was of this one."""
        self.pinned = self.pinned or revision

    def forget(self) -> None:
        self.pinned, self.assignment, self._unclaimed = "", None, None

    # ── which revision ──────────────────────────────────────────────────────────────

    def settle(self, role: RoleEntry, stands: Stands) -> Settled:
        spoke_ms = stands.spoke_ms if isinstance(stands, SessionFold) else stands.last_at_ms
        now_ms = self._world.now_ms()
        share = self._world.routing.share(role, self._unit)
        return settle(
            self._world.tables,
            role,
            self.pinned,
            wanted=self.wanted,
            idle_ms=now_ms - spoke_ms if stands.turn else None,
            opens=share.revision if share is not None else "",
            now_ms=now_ms,
        )

    def greeted(self, role: RoleEntry, stands: Stands) -> RevisionEntry:
        """The one that a channel is told of that comes now: where a pin is gone, the one that takes its place."""
        tables = self._world.tables
        revision = tables.revisions.get(role.tenant.name, self.pinned) if self.pinned else None
        if revision is None:
            settled = self.settle(role, stands)
            revision = settled.revision
            if not self.pinned:
                self._pinned_to(role, settled)
        self._world.links.pin(role, revision.name, self._key)
        return revision

    def ask(self, role: RoleEntry, wanted: str) -> None:
        """A message names a revision. Raises NotFound for one that is not there."""
        self.wanted = find(self._world.tables, role, wanted).name

    async def claim(self, role: RoleEntry) -> None:
        """Before its next turn: whether its unit is compared by this session."""
        share, self._unclaimed = self._unclaimed, None
        if share is not None:
            routing, store = self._world.routing, self._world.store
            self.assignment = await routing.compared(store, role, self._key, self._unit, share)

    def _pinned_to(self, role: RoleEntry, settled: Settled) -> None:
        self.pinned = settled.revision.name
        if settled.reason == "requested":
            self.assignment = self._unclaimed = None
        if not settled.is_assigned:
            return
        share, mine = self._world.routing.share(role, self._unit), self.assignment
        if share is None or share.revision != self.pinned or share.arm is Arm.NONE:
            self.assignment = self._unclaimed = None
        elif mine is None or (mine.rollout, mine.epoch) != (role.traffic.rollout, role.traffic.epoch):
            self.assignment, self._unclaimed = None, share

    # ── moving ──────────────────────────────────────────────────────────────────────

    def resets(self, fold: SessionFold, revision: RevisionEntry) -> bool:
        """Whether its typed state begins anew with a turn of this revision, which cannot read it. A revision that was
        asked for by name is given it as it is: whoever looks around is not to lose anything by it."""
        spec = revision.spec.template.state
        return bool(fold.state) and self.wanted != revision.name and not readable(fold.schema, spec)

    def move(self, role: RoleEntry, settled: Settled, fold: SessionFold | None) -> RevisionEntry:
        """Pin it to its revision, telling its channels where that is another one.

        `fold`: as its log says; None where nothing that matters here is in it.
        """
        revision, before = settled.revision, self.pinned
        if settled.reason:
            reset = fold is not None and self.resets(fold, revision)
            was = self._world.tables.revisions.get(role.tenant.name, before)
            self._audience.broadcast(
                RevisionChanged(
                    session_id=self._session_id,
                    seq=None,
                    ts=self._world.now_ms(),
                    from_=label(was) if was else before,
                    to=label(revision),
                    reason=settled.reason,
                    state_reset=reset,
                )
            )
            self._world.links.release(self._key)
            leaves, moves = departing(role.leaving, before), self._world.routing.moves
            if (
                leaves is not None
                and leaves.fate(self._world.now_ms()) is not Fate.STAYS
                and settled.reason != "requested"
            ):
                moves.migrated(role, self._key, reset=reset)
        self._pinned_to(role, settled)
        self._world.links.pin(role, revision.name, self._key)
        return revision

    def leaving(self, role: RoleEntry) -> Departing | None:
        """How its revision is left, where it is to go elsewhere now; None: it may stay."""
        leaves = departing(role.leaving, self.pinned) if self.pinned and self.pinned != role.stable else None
        if leaves is None or self.wanted == self.pinned or leaves.fate(self._world.now_ms()) is Fate.STAYS:
            return None
        return leaves

    def left(self, role: RoleEntry, leaves: Departing) -> Settled | None:
        """Where it goes; None: there is no stable revision."""
        stable = self._world.tables.revisions.get(role.tenant.name, role.stable) if role.stable else None
        return Settled(stable, leaves.reason) if stable is not None else None

    def may_reset(self, role: RoleEntry, to: RevisionEntry) -> bool:
        """Whether only its log says if its state begins anew there."""
        was = self._world.tables.revisions.get(role.tenant.name, self.pinned)
        return was is not None and not readable(was.spec.template.state.schema_version, to.spec.template.state)

    def withdraw(self, role: RoleEntry) -> None:
        """Its revision is taken away: whoever listens is told, and their connections are closed. Whoever comes again
        finds it moved."""
        self._audience.broadcast(withdrawn(self._session_id, self._world.now_ms()))
        self._world.routing.moves.dropped(role, self._key)
        self._world.links.release(self._key)


def withdrawn(session_id: str, now_ms: int) -> Error:
    gone = Unavailable(
        "the revision that answered this session was withdrawn",
        hint="Connect again: the session goes on with the stable revision",
        code=WITHDRAWN,
    )
    return Error(session_id=session_id, seq=None, ts=now_ms, error=error_body(gone))
