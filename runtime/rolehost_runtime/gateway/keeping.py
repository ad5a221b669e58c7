"""What the edge asks of sessions that are kept. Who may ask for what is decided there."""

from collections.abc import AsyncIterator
from typing import Protocol

from msgspec import Struct

from rolehost_api.wire import ForkedFrom
from rolehost_runtime.core.export import Line
from rolehost_runtime.gateway.kept import Receipt, Whose
from rolehost_runtime.gateway.remembered import MemoryView


class SessionRow(Struct, frozen=True, kw_only=True):
    """A session as a list shows it: no word of what was said."""

    session_id: str
    user: str
    """The end user; empty: the tenant's own."""
    turns: int
    seq: int
    """Of its last event."""
    version: int
    """Of its state."""
    revision: str
    began_ms: int
    last_at_ms: int
    """When it had its last turn."""
    forked_from: ForkedFrom | None = None


class SessionDetails(Struct, frozen=True, kw_only=True):
    """Where one session stands."""

    session_id: str
    user: str
    turns: int
    amends: int
    seq: int
    version: int
    revision: str
    last_at_ms: int
    epoch: int
    """How often it was taken over by a gateway."""
    answered_here: bool
    """The gateway that was asked is the one that answers it."""
    open_turn: int | None
    """The turn that is being answered, as far as the store knows."""
    open_since_ms: int | None
    deaths: int
    """Gateways that died in that turn."""
    forked_from: ForkedFrom | None


class Keeping(Protocol):
    async def sessions(
        self, tenant_uid: str, role: str, user: str | None, after: str, limit: int
    ) -> tuple[list[SessionRow], str]:
        """Newest first: of one user, of the tenant itself (empty), or of everybody (None); and what to ask for next,
        empty at the end. Sessions without a turn are left out, so an answer may be shorter than `limit`. Raises
        BadRequest `invalid_after`.
        """

    async def details(self, whose: Whose, session_id: str) -> SessionDetails:
        """Raises NotFound `session_not_found`, here and below."""

    async def fork(self, whose: Whose, session_id: str, at_seq: int | None, name: str | None = None) -> str:
        """The id of a new session that stands where this one stood after that event (None: its last); `name`, or a
        fresh one.

        Raises Conflict `superseded` where a session of that name is there; BadRequest `at_seq_inside_a_turn`, `at_seq_too_high`, `nothing_to_fork`, `fork_too_long`; Conflict
        `log_trimmed`; Overloaded `too_many_forks`, `too_many_kept`.
        """

    async def end(self, whose: Whose, session_id: str) -> None:
        """The conversation is over: one turn more, `on_end`, within seconds, and no timer goes off any more. What the user
        says after it begins them anew."""

    async def forget(self, whose: Whose, session_id: str) -> Receipt:
        """Delete all of a session; again, it is the same receipt."""

    async def forget_user(self, whose: Whose) -> Receipt:
        """Delete all of a user's sessions with the Role, and what is kept of them beside. Never NotFound."""

    async def memories(
        self, whose: Whose, session_id: str, query: str, after: str, limit: int
    ) -> tuple[list[MemoryView], str]:
        """What is remembered of a user, or of a session that has none; and what to ask for next, empty at the end.

        Newest first, or best first for a question. With a `session_id` what its turns remembered.
        """

    async def edit_memory(self, whose: Whose, session_id: str, name: str, text: str, *, asserted: bool) -> MemoryView:
        """Another text in the place of one of these, which is forgotten. `asserted`: a user says so, and nobody vouches
        for it. Raises NotFound `memory_not_found`, BadRequest `invalid_memory`."""

    async def confirm_memory(self, whose: Whose, session_id: str, name: str) -> MemoryView:
        """What a user asserted is vouched for from now on. Raises NotFound `memory_not_found`."""

    async def forget_memory(self, whose: Whose, session_id: str, name: str) -> Receipt:
        """Forget one of these. Raises NotFound `memory_not_found`."""

    async def receipt(self, tenant_uid: str, receipt: str, user: str = "") -> Receipt:
        """A receipt of this tenant's; where the user asks, of their own. Raises NotFound `receipt_not_found`."""

    def export(self, tenant: str, whose: Whose, session_id: str | None) -> AsyncIterator[Line]:
        """One session's lines, or (None) those of all. Raises NotFound before the first."""
