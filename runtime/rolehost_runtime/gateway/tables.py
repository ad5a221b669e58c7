"""What the gateway knows of the world: tenants, Roles, revisions, pods, backends, keys.

Plain values, replaced whole and never edited. Who fills them differs (`watch` from the
Kubernetes API, `local` from files); who reads them does not.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.crd.revision import RevisionSpec
from rolehost_api.crd.role import RoleSpec
from rolehost_api.observed import HostFacts
from rolehost_runtime.core.assignment import TO_STABLE, Traffic
from rolehost_runtime.core.departing import Departing
from rolehost_runtime.core.warming import Warming

V = TypeVar("V")
KINDS = ("tenants", "images", "roles", "revisions", "pods", "backends", "gateways", "keys")
"""Tables without which nothing is served. Strangers are not among them."""


class Scope(Enum):
    """What a key may do."""

    CHAT = "chat"
    PUSH = "push"
    ADMIN = "admin"
    ACT_AS_USER = "act-as-user"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A namespace by name *and* UID: a recycled name is another tenant."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class RoleEntry:
    tenant: Tenant
    name: str
    spec: RoleSpec
    stable: str
    """Name of the revision that takes new sessions; empty while there is none."""
    follow: bool = False
    """Open sessions move to `stable` at their next turn (development only)."""
    created_at: int = 0
    """When it was declared, seconds of Unix time; 0 where that is not known."""
    traffic: Traffic = TO_STABLE
    """Where new sessions go; without shares all to `stable`."""
    leaving: tuple[Departing, ...] = ()
    """Revisions that lost their new sessions, and what becomes of those that they have."""
    quarantined: tuple[str, ...] = ()
    """Revisions that were given up, and whose memories are not recalled."""
    warming: Warming | None = None
    """What is to be warmed now, before its first session."""


@dataclass(frozen=True, slots=True)
class RevisionEntry:
    tenant: Tenant
    name: str
    spec: RevisionSpec


NOT_KNOWN = HostFacts()


@dataclass(frozen=True, slots=True)
class PodEntry:
    """A pod that says it is a sandbox. In `Tables.pods` it may be dialled: who put it there checked its host facts."""

    tenant: Tenant
    uid: str
    name: str
    role: str
    revision: str
    address: str
    """host:port of the link in a cluster; in local mode a name that the dialer knows."""
    leaving: bool = False
    """Being deleted: no new turns."""
    ready: bool = False
    """Kubernetes calls it Ready: some gateway bound it and its logic is loaded."""
    host: HostFacts = NOT_KNOWN
    """For the report; nothing is known in local mode."""


@dataclass(frozen=True, slots=True)
class GatewayEntry:
    """A gateway's pod, this process's own included."""

    name: str
    address: str
    """host:port where other gateways come in."""


@dataclass(frozen=True, slots=True)
class KeyEntry:
    key_id: str
    sha256: str
    tenant: Tenant
    scopes: frozenset[Scope]


class Table(Generic[V]):
    """Rows by key, with doorbells: a listener is told which key changed, not what it was."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], V] = {}
        self._listeners: list[Callable[[tuple[str, ...]], None]] = []
        self.filled = False
        """Whole: a listing has arrived, or the last good rows; until then an absence means nothing."""
        self.stale = False
        """What is here are the last good rows, and no listing has confirmed them yet."""

    def get(self, *key: str) -> V | None:
        return self._rows.get(key)

    def values(self) -> Iterator[V]:
        return iter(tuple(self._rows.values()))

    def items(self) -> tuple[tuple[tuple[str, ...], V], ...]:
        return tuple(self._rows.items())

    def put(self, key: tuple[str, ...], row: V) -> None:
        if self._rows.get(key) != row:
            self._rows[key] = row
            self._ring(key)

    def drop(self, key: tuple[str, ...]) -> None:
        if self._rows.pop(key, None) is not None:
            self._ring(key)

    def replace_all(self, rows: dict[tuple[str, ...], V]) -> None:
        for key in self._rows.keys() - rows.keys():
            self.drop(key)
        for key, row in rows.items():
            self.put(key, row)
        self.filled, self.stale = True, False

    def assume(self, rows: dict[tuple[str, ...], V]) -> None:
        """Take the last good rows where no listing has arrived; the first listing replaces them all."""
        if not self.filled:
            self.replace_all(rows)
            self.stale = True

    def listen(self, listener: Callable[[tuple[str, ...]], None]) -> None:
        self._listeners.append(listener)

    def _ring(self, key: tuple[str, ...]) -> None:
        for listener in tuple(self._listeners):
            listener(key)


class PodTable(Table[PodEntry]):
    """Pods by UID, and by the revision that they run: every turn asks for those, among however many others.

    >>> pods, acme = PodTable(), Tenant("acme", "uid-1")
    >>> pods.put(("p1",), PodEntry(acme, "p1", "cat-1-x", "cat", "cat-1", "10.0.0.1:7420"))
    >>> [pod.uid for pod in pods.of(acme, "cat-1")], [*pods.of(acme, "cat-2")]
    (['p1'], [])
    """

    def __init__(self) -> None:
        super().__init__()
        self._of: dict[tuple[Tenant, str], dict[str, PodEntry]] = {}

    def of(self, tenant: Tenant, revision: str) -> Collection[PodEntry]:
        """The pods of a tenant's revision, by name; those that are leaving too."""
        return tuple(self._of.get((tenant, revision), {}).values())

    def put(self, key: tuple[str, ...], row: PodEntry) -> None:
        self._unlist(key)
        self._of.setdefault((row.tenant, row.revision), {})[row.uid] = row
        super().put(key, row)

    def drop(self, key: tuple[str, ...]) -> None:
        self._unlist(key)
        super().drop(key)

    def _unlist(self, key: tuple[str, ...]) -> None:
        row = self.get(*key)
        if row is not None:
            where = (row.tenant, row.revision)
            self._of[where].pop(row.uid, None)
            if not self._of[where]:
                del self._of[where]


@dataclass(slots=True)
class Tables:
    """Keys: tenants (namespace,), images (name,), roles and revisions (namespace, name), pods (uid,), backends (name,), keys (sha256,),
    gateways (name,).

    A stranger (uid,) has a sandbox's labels and is none: it is reported, and never dialled.
    """

    tenants: Table[Tenant] = field(default_factory=Table)
    images: Table[str] = field(default_factory=Table)
    """Sandbox images whose pods may be dialled, in a cluster."""
    roles: Table[RoleEntry] = field(default_factory=Table)
    revisions: Table[RevisionEntry] = field(default_factory=Table)
    pods: PodTable = field(default_factory=PodTable)
    strangers: Table[PodEntry] = field(default_factory=Table)
    backends: Table[BackendSpec] = field(default_factory=Table)
    keys: Table[KeyEntry] = field(default_factory=Table)
    gateways: Table[GatewayEntry] = field(default_factory=Table)

    def named(self) -> dict[str, Table[Any]]:
        """Those that must be filled; tenants first, for the others' rows are told apart by them."""
        return {name: getattr(self, name) for name in KINDS}

    @property
    def filled(self) -> bool:
        return not self.unfilled

    @property
    def unfilled(self) -> list[str]:
        """Names of the tables of which neither a whole listing nor the last good rows arrived."""
        return [name for name, table in self.named().items() if not table.filled]

    @property
    def stale(self) -> bool:
        """Some of it are the last good rows, from before this process could see the cluster."""
        return any(table.stale for table in self.named().values())
