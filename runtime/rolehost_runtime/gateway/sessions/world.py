"""What the sessions of one process share, and what comes into them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rolehost_api.wire import Said
from rolehost_runtime.gateway.kept import RETENTION_SECONDS
from rolehost_runtime.gateway.ports import Channel, Links, ModelProvider, Peers, SessionStore, ignore
from rolehost_runtime.gateway.sessions.archive import Archive
from rolehost_runtime.gateway.sessions.history import History
from rolehost_runtime.gateway.sessions.limits import USUAL, Limits
from rolehost_runtime.gateway.sessions.metrics import TurnSink
from rolehost_runtime.gateway.sessions.room import Room
from rolehost_runtime.gateway.sessions.snapshotting import Snapshotting
from rolehost_runtime.gateway.tables import Tables, Tenant


@dataclass(frozen=True, slots=True)
class World:
    tables: Tables
    links: Links
    store: SessionStore
    models: ModelProvider
    now_ms: Callable[[], int]
    sink: TurnSink
    durability: str
    """What an acknowledged turn has survived, as session.created says it."""
    commit_pauses: Sequence[float]
    """Seconds between the tries of one commit; the store bounds each try."""
    room: Room
    peers: Peers
    snapshotting: Snapshotting
    taken: Callable[[str], None] = ignore
    """Told how a session came to this gateway."""
    heartbeat_ms: int = 5000
    resume_ttl_s: int = 300
    limits: Limits = USUAL
    """Of one session."""
    archive: Archive | None = None
    """What takes old records out of logs, and knows where they are. None: they stay."""

    def history(self, key: str) -> History:
        """One reading of that session's log, with what left it."""
        return History(self.store, self.archive.past if self.archive is not None else None, key)

    def keep_seconds(self, tenant: Tenant, role_name: str) -> int:
        """For how long a session of that Role is kept after its last turn, as it is declared now; what is written while
        the Role is being deleted, for as long as where none says."""
        role = self.tables.roles.get(tenant.name, role_name)
        return role.spec.sessions.retention_seconds if role is not None else RETENTION_SECONDS


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message that was let in, and when, by the loop's clock."""

    said: Said
    channel: Channel
    at: float
    begun: Callable[[str], None] = ignore
    """Called with the id of the response that answers it."""

    @property
    def deadline(self) -> float | None:
        """The client's own. It gives the turn up, in line or running, but never a commit that is on its way."""
        return self.at + self.said.deadline_ms / 1000 if self.said.deadline_ms else None


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one turn, by the loop's clock: when its message came, when its turn in line came, when it is given up."""

    at: float
    began: float
    deadline: float | None
