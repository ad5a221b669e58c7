"""Which revision a session opens on, here as on every other gateway; and when this one holds a candidate back."""

from collections.abc import Callable
from dataclasses import dataclass

from rolehost_api.crd.rollout import Arm, SessionPolicy, Share
from rolehost_api.errors import RolehostError
from rolehost_runtime.core.assignment import Assignment, assigned, bucket, unit_id
from rolehost_runtime.core.departing import Fate, departing
from rolehost_runtime.core.tripping import Tripping, scored
from rolehost_runtime.gateway.kept import Library
from rolehost_runtime.gateway.sessions.cohorts import CohortSink, NoCohorts
from rolehost_runtime.gateway.sessions.moves import Moves
from rolehost_runtime.gateway.sessions.revisions import has_pods
from rolehost_runtime.gateway.tables import RoleEntry, Tables

CLAIM_SECONDS = 86_400
"""So long a unit is known to have been given its side, and is not counted once more."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Who is assigned: the user where one is known, else the session itself."""

    name: str
    known: bool


class Routing:
    def __init__(
        self, tables: Tables, key: bytes, now_ms: Callable[[], int], cohorts: CohortSink | None = None
    ) -> None:
        """`key`: of all buckets, the same in every gateway (`core.assignment.assignment_key`)."""
        self._tables, self._key, self._now_ms = tables, key, now_ms
        self.cohorts: CohortSink = cohorts or NoCohorts()
        self.moves = Moves()
        self._tripping: dict[tuple[str, str], dict[str, Tripping]] = {}
        """By tenant and Role, then by candidate (an experiment has two); empty: what there is of the other side alone."""
        self.changed: Callable[[], None] = lambda: None
        """Called where a candidate is held back from now on."""
        tables.roles.listen(self._role_changed)

    def share(self, role: RoleEntry, unit: Unit) -> Share | None:
        """The share of new sessions that the unit is in. None: the stable revision's, and it is not compared.

        The same for a unit until the shares change. Where its revision cannot take anybody here - its last pod is
        gone, this gateway holds it back - the stable one does, and nothing is learnt from that.
        """
        traffic = role.traffic
        share = assigned(traffic.shares, bucket(self._key, traffic.rollout, unit.name)) if traffic.shares else None
        if share is None or share.revision == role.stable:
            return share
        leaves = departing(role.leaving, share.revision)
        revision = self._tables.revisions.get(role.tenant.name, share.revision)
        if revision is None or not has_pods(self._tables, revision):
            return None
        if leaves is not None and leaves.fate(self._now_ms()) is not Fate.STAYS:
            return None
        return None if share.arm is Arm.CANDIDATE and self.holds_back(role, share.revision) else share

    async def compared(
        self, store: Library, role: RoleEntry, session_key: str, unit: Unit, share: Share
    ) -> Assignment | None:
        """The side that this session opened on, if it is the one by which its unit is compared.

        The first session of a unit and evidence epoch is, whichever gateway it came to: the store knows. One whose
        gateway dies takes its score along; that is a score less on either side, and none is given twice. Where the
        store cannot say, it is not compared.
        """
        if share.arm is Arm.NONE:
            return None
        traffic, name = role.traffic, unit_id(self._key, role.traffic.rollout, unit.name)
        try:
            first = await store.claim_unit(f"{name}/{traffic.epoch}", CLAIM_SECONDS)
        except RolehostError:
            return None
        if not first:
            return None
        made = Assignment(
            traffic.rollout, traffic.epoch, share.revision, share.arm, share.percent, unit.known, name, self._now_ms()
        )
        self.cohorts.assigned(role, session_key, made)
        return made

    def fell_silent(self, namespace: str, role_name: str, revision: str, session_key: str) -> None:
        """A session lets go of its revision, for it said nothing: of one that is drained it is one less."""
        role = self._tables.roles.get(namespace, role_name)
        leaves = departing(role.leaving, revision) if role is not None else None
        if role is not None and leaves is not None and leaves.policy is SessionPolicy.DRAIN:
            self.moves.drained(role, session_key)

    # ── the local breaker ───────────────────────────────────────────────────────────

    def scored(self, role: RoleEntry, of: Assignment, *, bad: bool) -> None:
        """How one session of a comparison fared. What an earlier epoch assigned says nothing any more."""
        if (of.rollout, of.epoch) != (role.traffic.rollout, role.traffic.epoch):
            return
        seen = self._tripping.setdefault((role.tenant.name, role.name), {})
        if of.arm is Arm.BASELINE:
            for revision in {*seen, ""}:
                seen[revision] = scored(seen.get(revision, Tripping()), of, bad=bad)
            return
        before = seen.get(of.revision) or seen.get("", Tripping())
        after = seen[of.revision] = scored(before, of, bad=bad)
        if after.tripped and not before.tripped:
            self.moves.held_back(role, of.rollout, tripped=True)
            self.changed()

    def holds_back(self, role: RoleEntry, revision: str) -> bool:
        """Whether this gateway gives that candidate of the Role's rollout no new sessions."""
        found = self._tripping.get((role.tenant.name, role.name), {}).get(revision)
        return found is not None and found.holds_for(role.traffic.rollout, role.traffic.epoch)

    @property
    def held_back(self) -> int:
        """Roles a candidate of which this gateway holds back."""
        return sum(any(one.tripped for one in seen.values()) for seen in self._tripping.values())

    def _role_changed(self, key: tuple[str, ...]) -> None:
        """Another rollout, another epoch, or no Role: what was held against the earlier one is over."""
        namespace, name = key
        seen = self._tripping.get((namespace, name))
        if seen is None:
            return
        role, of = self._tables.roles.get(namespace, name), next(iter(seen.values()))
        if role is not None and (of.rollout, of.epoch) == (role.traffic.rollout, role.traffic.epoch):
            return
        del self._tripping[namespace, name]
        if role is not None and any(one.tripped for one in seen.values()):
            self.moves.held_back(role, of.rollout, tripped=False)
            self.changed()
