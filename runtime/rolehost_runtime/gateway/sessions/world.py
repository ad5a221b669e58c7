"""What the sessions of one process share, and what comes into them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rolehost_api.wire import Said
from rolehost_runtime.core.safety.guards import Guard
from rolehost_runtime.gateway.kept import RETENTION_SECONDS
from rolehost_runtime.gateway.ports import (
    Channel,
    Links,
    ModelProvider,
    NoToolbox,
    Peers,
    SessionStore,
    Toolbox,
    Web,
    ignore,
)
from rolehost_runtime.gateway.scores import NoScores, Scores
from rolehost_runtime.gateway.sessions.archive import Archive
from rolehost_runtime.gateway.sessions.arming import Timed
from rolehost_runtime.gateway.sessions.history import History
from rolehost_runtime.gateway.sessions.inspecting import Inspections
from rolehost_runtime.gateway.sessions.limits import USUAL, Limits
from rolehost_runtime.gateway.sessions.lore import Books
from rolehost_runtime.gateway.sessions.meanings import Meanings
from rolehost_runtime.gateway.sessions.memories import Memories
from rolehost_runtime.gateway.sessions.metrics import TurnSink
from rolehost_runtime.gateway.sessions.room import Room
from rolehost_runtime.gateway.sessions.routing import Routing
from rolehost_runtime.gateway.sessions.safeties import Safeties
from rolehost_runtime.gateway.sessions.snapshotting import Snapshotting
from rolehost_runtime.gateway.tables import Tables, Tenant
from rolehost_runtime.gateway.tracing.context import Parent
from rolehost_runtime.gateway.tracing.tracer import Tracer
from rolehost_runtime.plugins.prompts import PromptTemplate


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
    memories: Memories
    meanings: Meanings
    routing: Routing
    taken: Callable[[str], None] = ignore
    """Told how a session came to this gateway."""
    heartbeat_ms: int = 5000
    resume_ttl_s: int = 300
    limits: Limits = USUAL
    """Of one session."""
    archive: Archive | None = None
    """What takes old records out of logs, and knows where they are. None: they stay."""
    web: Web | None = None
    """Servers outside. None: there is no way to them."""
    toolbox: Toolbox = field(default_factory=NoToolbox)
    """Tools that are not the logic's own."""

    timed: Timed | None = None
    """What sets timers. None: there are none."""
    books: Books = field(default_factory=Books)
    """Lorebooks that are ready."""
    safeties: Safeties = field(default_factory=Safeties)
    """What guards the turns of each revision."""
    layouts: Mapping[str, PromptTemplate] = field(default_factory=dict)
    """PromptTemplates that are installed, by the names that Roles use."""
    guards: Mapping[str, Guard] = field(default_factory=dict)
    """Those that are installed, by the names that Roles use."""
    inspections: Inspections = field(default_factory=lambda: Inspections(0, lambda: 0))
    """What the newest turns looked like from underneath; this one keeps nothing."""
    tracer: Tracer | None = None
    """None: turns have no traces."""
    scores: Scores = field(default_factory=NoScores)
    """Where turns are held against their Role's objectives."""

    def history(self, key: str) -> History:
        """One reading of that session's log, with what left it."""
        return History(self.store, self.archive.past if self.archive is not None else None, key)

    def keep_seconds(self, tenant: Tenant, role_name: str) -> int:
        """For how long a session of that Role is kept after its last turn, as it is declared now; what is written while
        the Role is being deleted, for as long as where none says."""
        role = self.tables.roles.get(tenant.name, role_name)
        return role.spec.sessions.retention_seconds if role is not None else RETENTION_SECONDS


@dataclass(slots=True)
class Accepted:
    """A message that was let in, and when, by the loop's clock."""

    said: Said
    channel: Channel
    at: float
    begun: Callable[[str], None] = ignore
    """Called with the id of the response that answers it."""
    parent: Parent | None = None
    """The client's own span."""
    under_way: bool = False
    """A response answers it, and counts what becomes of that."""

    def begin(self, response_id: str) -> None:
        """That response answers it."""
        self.under_way = True
        self.begun(response_id)

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
    ready: float = 0.0
    """When the session stood as its log says, by the machine's clock; 0: that took no time of the message's."""
