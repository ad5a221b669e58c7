"""The state that a person's sessions share, as one session of theirs knows it."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from rolehost_api.link.messages import PatchOp, StartTurn
from rolehost_api.wire import StateDelta
from rolehost_runtime.core.merge import (
    Place,
    Stored,
    View,
    applied,
    catch_up,
    changes_of,
    mark_of,
    merge,
    version_of,
    view_of,
)
from rolehost_runtime.core.patch import InvalidPatch, StateTooLarge, encoded_size
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.core.session import ENTRY_BYTES
from rolehost_runtime.gateway.ports import USER_BYTES, Shared
from rolehost_runtime.gateway.sessions.audience import Audience
from rolehost_runtime.gateway.sessions.world import World


class Person:
    """The newest copy that is known here, and which of its versions whoever listens was told of."""

    def __init__(
        self, world: World, tag: str, session_id: str, audience: Audience, keep_seconds: Callable[[], int]
    ) -> None:
        """`keep_seconds`: for how long it is kept after a turn has read it."""
        self._keep_seconds = keep_seconds
        self._world, self.tag, self._session_id, self._audience = world, tag, session_id, audience
        self._stored: Stored = {}
        self._told = 0

    @property
    def weight(self) -> int:
        """Bytes of memory that the copy takes, at most."""
        return sum(len(name) + len(value) + ENTRY_BYTES for name, value in self._stored.items())

    def forget(self) -> None:
        """Let go of what the store holds too."""
        self._stored = {}

    async def newest(self) -> Stored:
        """As the store has it now; who listens is told what other sessions changed. Raises Unavailable."""
        self._stored = await self._world.store.user(self.tag, self._stored, self._keep_seconds())
        version = version_of(self._stored)
        if version != self._told:
            self._told = version
            self._audience.broadcast(
                StateDelta(
                    session_id=self._session_id,
                    seq=None,
                    ts=self._world.now_ms(),
                    version=version,
                    is_urgent=False,
                    patch=(PatchOp("replace", "", view_of(self._stored)),),
                    scope="user",
                )
            )
        return self._stored

    def changed(self, record: TurnRecord, shared: Shared, read: Stored) -> str:
        """A turn that had read `read` changed it. Which copy that is; empty where others changed it too, and what came
        of it is known when it is read again."""
        way = catch_up(Place.of(version_of(read)), Place.of(shared.version))
        if way.snapshot is not None or way.upto != way.after + 1:
            return ""
        changes = changes_of(record.user_patch)
        merged = merge(read, changes, base=record.user_base, mark=record.mark, max_bytes=USER_BYTES)
        self._stored, self._told = merged.stored, shared.version
        return copy_of(merged.stored) if view_of(merged.stored) == applied(view_of(read), changes) else ""


class Reading:
    """What one turn reads of it: the same however often it runs. Implements ports.Person."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._read: Stored | None = None

    @property
    def base(self) -> int:
        """The version that was read; 0 where none was."""
        return version_of(self._read or {})

    async def read(self, start: StartTurn) -> StartTurn:
        """With user-scope state as it is now; the same again where the turn runs again. Raises Unavailable."""
        if self._read is None:
            self._read = await self._person.newest()
        return replace(start, user_ref=self._person.tag, user_at=copy_of(self._read), user_state=view_of(self._read))

    def changed(self, record: TurnRecord, shared: Shared) -> str:
        """The turn is durable. Which copy its change made of the one it read; empty where it is another one."""
        return self._person.changed(record, shared, self._read or {})

    def checked(self, patch: Sequence[PatchOp], max_bytes: int) -> None:
        """Raise InvalidPatch or StateTooLarge unless a turn may change what it read so."""
        if self._read is None:
            raise InvalidPatch("a pod changed user-scope state that its turn had not read")
        before: View = view_of(self._read)
        size = encoded_size(applied(before, changes_of(patch)))
        if size > max_bytes and size > encoded_size(before):
            raise StateTooLarge(
                f"user-scope state would be over {max_bytes} bytes", hint="Keep less in State with scope user"
            )


def copy_of(stored: Stored) -> str:
    """Names one copy, for pods: two with the same name are the same."""
    return f"{version_of(stored)}.{mark_of(stored)}"
