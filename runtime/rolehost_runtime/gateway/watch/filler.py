"""What Kubernetes objects mean for the tables. Pure but for the tables themselves.

Whose an object is follows from its namespace: name *and* UID, and only where the namespace
is labelled as a tenant. Namespaces and what is in them come over different watches, in any
order, so an object is kept and looked at again when its namespace turns up, changes or goes.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from rolehost_api import names
from rolehost_api.crd.common import ObjectMeta
from rolehost_api.crd.modelbackend import ModelBackend
from rolehost_api.crd.revision import RoleRevision
from rolehost_api.crd.role import Role, RoleStatus
from rolehost_api.crd.rollout import PREPARING, Leaving, MemoryPolicy, RolloutStatus
from rolehost_api.observed import HostFacts
from rolehost_runtime.core.assignment import Traffic
from rolehost_runtime.core.departing import Departing
from rolehost_runtime.core.warming import Warming
from rolehost_runtime.gateway.tables import (
    GatewayEntry,
    KeyEntry,
    PodEntry,
    RevisionEntry,
    RoleEntry,
    Scope,
    Table,
    Tables,
    Tenant,
)
from rolehost_runtime.gateway.watch.listwatch import Known
from rolehost_runtime.gateway.watch.views import ConfigMapView, KeyRow, NamespaceView, PodView

K = TypeVar("K", bound=Known)
V = TypeVar("V")
Key = tuple[str, ...]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_key_row = msgspec.json.Decoder(KeyRow)


class Filler:
    """All sinks of the watches, over one set of tables."""

    def __init__(self, tables: Tables, skipped: Callable[[str], None]) -> None:
        """`skipped` hears the id of a key whose entry cannot be read."""
        tenant_of = tables.tenants.get
        self.roles = Namespaced(tables.roles, tenant_of, role_entry, _by_name)
        self.revisions = Namespaced(tables.revisions, tenant_of, revision_entry, _by_name)
        self.pods = Pods(tables)
        self.images = TrustedImages(tables, self.pods.review)
        self.backends = Backends(tables)
        self.keys = Keys(tables, skipped)
        self.namespaces = Namespaces(tables)
        self.gateways = Gateways(tables)
        for follower in (self.roles, self.revisions, self.pods, self.keys):
            tables.tenants.listen(follower.tenant_changed)


def _by_name(meta: ObjectMeta) -> Key:
    return (meta.namespace, meta.name)


def _by_uid(meta: ObjectMeta) -> Key:
    return (meta.uid,)


class Namespaced(Generic[K, V]):
    """Implements listwatch.Sink for objects that live in a tenant's namespace."""

    def __init__(
        self,
        table: Table[V],
        tenant_of: Callable[[str], Tenant | None],
        entry: Callable[[K, Tenant], V | None],
        key: Callable[[ObjectMeta], Key],
    ) -> None:
        self._table, self._tenant_of, self._entry, self._key = table, tenant_of, entry, key
        self._seen: dict[Key, K] = {}

    def replace(self, objects: list[K]) -> None:
        self._seen = {self._key(item.metadata): item for item in objects}
        rows = {key: row for key, item in self._seen.items() if (row := self._row(item)) is not None}
        self._table.replace_all(rows)

    def put(self, item: K) -> None:
        key = self._key(item.metadata)
        self._seen[key] = item
        self._show(key, item)

    def drop(self, meta: ObjectMeta) -> None:
        self._seen.pop(self._key(meta), None)
        self._table.drop(self._key(meta))

    def tenant_changed(self, row: Key) -> None:
        (namespace,) = row
        for key, item in self._seen.items():
            if item.metadata.namespace == namespace:
                self._show(key, item)

    def _show(self, key: Key, item: K) -> None:
        row = self._row(item)
        if row is None:
            self._table.drop(key)
        else:
            self._table.put(key, row)

    def _row(self, item: K) -> V | None:
        tenant = self._tenant_of(item.metadata.namespace)
        return None if tenant is None else self._entry(item, tenant)


class Pods:
    """Implements listwatch.Sink: what may be dialled in one table, what only says that it is a sandbox in another.

    Which is which depends on the images that are trusted, so nothing is shown before those are known.
    """

    def __init__(self, tables: Tables) -> None:
        self._tenants, self._images = tables.tenants, tables.images
        self._sandboxes, self._strangers = tables.pods, tables.strangers
        self._seen: dict[Key, PodView] = {}
        self._listed = False

    def replace(self, objects: list[PodView]) -> None:
        self._seen = {_by_uid(item.metadata): item for item in objects}
        self._listed = True
        self.review()

    def put(self, item: PodView) -> None:
        key = _by_uid(item.metadata)
        self._seen[key] = item
        if self._shown:
            self._show(key, self._entry(item))

    def drop(self, meta: ObjectMeta) -> None:
        self._seen.pop(_by_uid(meta), None)
        self._show(_by_uid(meta), None)

    def tenant_changed(self, row: Key) -> None:
        (namespace,) = row
        for key, item in self._seen.items() if self._shown else ():
            if item.metadata.namespace == namespace:
                self._show(key, self._entry(item))

    def review(self) -> None:
        """Look at all of them again: other images are trusted."""
        if not self._shown:
            return
        entries = {key: entry for key, item in self._seen.items() if (entry := self._entry(item)) is not None}
        self._strangers.replace_all({key: entry for key, entry in entries.items() if not entry.host.proved})
        self._sandboxes.replace_all({key: entry for key, entry in entries.items() if _may_be_dialled(entry)})

    @property
    def _shown(self) -> bool:
        return self._listed and self._images.filled

    def _show(self, key: Key, entry: PodEntry | None) -> None:
        for table, belongs in (
            (self._strangers, entry is not None and not entry.host.proved),
            (self._sandboxes, entry is not None and _may_be_dialled(entry)),
        ):
            if entry is not None and belongs:
                table.put(key, entry)
            else:
                table.drop(key)

    def _entry(self, item: PodView) -> PodEntry | None:
        tenant = self._tenants.get(item.metadata.namespace)
        return None if tenant is None else pod_entry(item, tenant, self._images)


def _may_be_dialled(entry: PodEntry) -> bool:
    """All its host facts are so, and it has an address of its own."""
    return entry.host.proved and entry.address != ""


class TrustedImages:
    """Implements listwatch.Sink for the one ConfigMap that lists sandbox images.

    Without it nothing changes: helm takes it away for a moment at every upgrade.
    """

    def __init__(self, tables: Tables, changed: Callable[[], None]) -> None:
        self._table, self._changed = tables.images, changed

    def replace(self, objects: list[ConfigMapView]) -> None:
        for item in objects:
            self.put(item)

    def put(self, item: ConfigMapView) -> None:
        listed = item.data.get(names.TRUSTED_IMAGES_ENTRY, "").split(",")
        self._table.replace_all({(image,): image for word in listed if (image := word.strip())})
        self._changed()

    def drop(self, meta: ObjectMeta) -> None:
        """Nothing."""


def role_entry(role: Role, tenant: Tenant) -> RoleEntry:
    meta = role.metadata
    follow = meta.annotations.get(names.FOLLOW) == "true"
    return RoleEntry(
        tenant,
        meta.name,
        role.spec,
        role.status.stable_revision,
        follow,
        seconds_of(meta.creation_timestamp),
        traffic_of(role.status),
        tuple(departing_of(one) for one in role.status.leaving),
        quarantined_of(role),
        warming_of(role.status),
    )


GIVEN_UP = frozenset({"RolledBack", "Aborted"})
"""Past.action of a revision that lost its traffic because of what it was."""


def quarantined_of(role: Role) -> tuple[str, ...]:
    """Revisions whose memories are not recalled: those that are being given up so, and while the Role says so, those that
    were and did not come back since."""
    status, latest = role.status, dict[str, str]()
    for past in status.history:  # newest first
        latest.setdefault(past.revision, past.action)
    names = {one.revision for one in status.leaving if one.memory is MemoryPolicy.QUARANTINE}
    if role.spec.rollout.rollback.memory is MemoryPolicy.QUARANTINE:
        names |= {name for name, action in latest.items() if action in GIVEN_UP}
    serving = {status.stable_revision, status.canary_revision, *(share.revision for share in status.traffic)}
    return tuple(sorted(names - serving))


def traffic_of(status: RoleStatus) -> Traffic:
    """Where new sessions go, as the operator says it."""
    rollout = status.rollout or RolloutStatus()
    return Traffic(rollout.id, rollout.epoch, tuple(status.traffic))


def warming_of(status: RoleStatus) -> Warming | None:
    """What the operator waits for before the first step: that these revisions are warm."""
    rollout = status.rollout or RolloutStatus()
    if rollout.stage != PREPARING or not rollout.warming_since:
        return None
    variants = tuple(one.revision for one in rollout.variants)
    return Warming(rollout.id, variants or (rollout.revision,))


def departing_of(leaving: Leaving) -> Departing:
    """A drain whose end cannot be read has none: its sessions end where they are."""
    return Departing(leaving.revision, leaving.policy, leaving.reason, 1000 * seconds_of(leaving.until))


def seconds_of(timestamp: str) -> int:
    """A time of Kubernetes' as seconds of Unix time; 0 where it is none.

    >>> seconds_of("2030-01-01T00:00:00Z"), seconds_of("")
    (1893456000, 0)
    """
    try:
        return int(datetime.fromisoformat(timestamp).timestamp())
    except ValueError:
        return 0


def revision_entry(revision: RoleRevision, tenant: Tenant) -> RevisionEntry:
    return RevisionEntry(tenant, revision.metadata.name, revision.spec)


def host_facts(pod: PodView, images: Table[str]) -> HostFacts:
    """What Kubernetes says of the pod. Its own labels name the revision; who controls it must agree.

    The Deployment controller names a ReplicaSet after its Deployment (which has the
    revision's name) and the hash of the template, and labels the pods with that hash.
    """
    spec, meta = pod.spec, pod.metadata
    run = {c.image for c in (*spec.containers, *spec.init_containers, *spec.ephemeral_containers)}
    revision, template = meta.labels.get(names.REVISION), meta.labels.get(names.POD_TEMPLATE_HASH)
    owners = [(owner.api_version, owner.kind, owner.name) for owner in meta.owner_references if owner.controller]
    return HostFacts(
        runtime=spec.runtime_class_name == names.RUNTIME_CLASS,
        account=spec.service_account_name == names.SANDBOX_SERVICE_ACCOUNT,
        image=bool(run) and all(images.get(image) for image in run),
        apart=not spec.host_network,
        owned=bool(revision and template) and owners == [("apps/v1", "ReplicaSet", f"{revision}-{template}")],
    )


def pod_entry(pod: PodView, tenant: Tenant, images: Table[str]) -> PodEntry | None:
    """What the pod says it is, and what Kubernetes says of it; None where it says nothing, or has ended."""
    meta, ip = pod.metadata, pod.status.pod_ip
    role, revision = meta.labels.get(names.ROLE), meta.labels.get(names.REVISION)
    if not (role and revision) or pod.status.phase in ("Succeeded", "Failed"):
        return None
    leaving = meta.deletion_timestamp is not None
    said = {seen.type: seen.status == "True" for seen in pod.status.conditions}
    # While its init container runs it has an address, and nobody listens there: each dial would only lengthen the pause.
    listens = bool(ip) and said.get("Initialized", True)
    return PodEntry(
        tenant,
        meta.uid,
        meta.name,
        role,
        revision,
        names.host_port(ip, names.LINK_PORT) if listens else "",
        leaving=leaving,
        ready=said.get("Ready", False),
        host=host_facts(pod, images),
    )


class Namespaces:
    """Implements listwatch.Sink. Watched with the tenant label as selector; checked again all the same."""

    def __init__(self, tables: Tables) -> None:
        self._tenants = tables.tenants

    def replace(self, objects: list[NamespaceView]) -> None:
        self._tenants.replace_all({(item.metadata.name,): _tenant(item) for item in objects if _labelled(item)})

    def put(self, item: NamespaceView) -> None:
        if _labelled(item):
            self._tenants.put((item.metadata.name,), _tenant(item))
        else:
            self.drop(item.metadata)

    def drop(self, meta: ObjectMeta) -> None:
        known = self._tenants.get(meta.name)
        if known is not None and known.uid == meta.uid:
            self._tenants.drop((meta.name,))


def _labelled(item: NamespaceView) -> bool:
    return names.TENANT in item.metadata.labels


def _tenant(item: NamespaceView) -> Tenant:
    return Tenant(item.metadata.name, item.metadata.uid)


class Gateways:
    """Implements listwatch.Sink for the pods of gateways: one that ends is a row for as long as it is there."""

    def __init__(self, tables: Tables) -> None:
        self._table = tables.gateways

    def replace(self, objects: list[PodView]) -> None:
        rows: dict[Key, GatewayEntry] = {}
        for item in objects:
            if (row := gateway_entry(item)) is not None:
                rows[(row.name,)] = row
        self._table.replace_all(rows)

    def put(self, item: PodView) -> None:
        row = gateway_entry(item)
        if row is None:
            self.drop(item.metadata)
        else:
            self._table.put((row.name,), row)

    def drop(self, meta: ObjectMeta) -> None:
        self._table.drop((meta.name,))


def gateway_entry(pod: PodView) -> GatewayEntry | None:
    """A gateway's pod once it has an address, and until it has ended."""
    ip = pod.status.pod_ip
    if not ip or pod.status.phase in ("Succeeded", "Failed"):
        return None
    return GatewayEntry(pod.metadata.name, names.host_port(ip, names.PEER_PORT))


class Backends:
    """Implements listwatch.Sink."""

    def __init__(self, tables: Tables) -> None:
        self._table = tables.backends

    def replace(self, objects: list[ModelBackend]) -> None:
        self._table.replace_all({(item.metadata.name,): item.spec for item in objects})

    def put(self, item: ModelBackend) -> None:
        self._table.put((item.metadata.name,), item.spec)

    def drop(self, meta: ObjectMeta) -> None:
        self._table.drop((meta.name,))


class Keys:
    """Implements listwatch.Sink for the one ConfigMap: key id → JSON of its hash, tenant and scopes."""

    def __init__(self, tables: Tables, skipped: Callable[[str], None]) -> None:
        self._table, self._tenants, self._skipped = tables.keys, tables.tenants, skipped
        self._data: dict[str, str] = {}
        self._listed = False
        """What is in the table before that are the last good keys, and not ours to judge."""

    def replace(self, objects: list[ConfigMapView]) -> None:
        self._listed = True
        self._data = objects[0].data if objects else {}
        self._show()

    def put(self, item: ConfigMapView) -> None:
        self._data = item.data
        self._show()

    def drop(self, meta: ObjectMeta) -> None:
        self._data = {}
        self._show()

    def tenant_changed(self, row: Key) -> None:
        if self._listed:
            self._show()

    def _show(self) -> None:
        rows = [self._entry(key_id, raw) for key_id, raw in self._data.items()]
        self._table.replace_all({(row.sha256,): row for row in rows if row is not None})

    def _entry(self, key_id: str, raw: str) -> KeyEntry | None:
        """The key, if its tenant is still the one that it was issued for: a recycled name inherits none."""
        try:
            row = _key_row.decode(raw)
            scopes = frozenset(Scope(word) for word in row.scopes)
        except (msgspec.MsgspecError, ValueError):
            self._skipped(key_id)
            return None
        tenant = self._tenants.get(row.tenant)
        if tenant is None or tenant.uid != row.tenant_uid:
            return None
        if not _SHA256.fullmatch(row.sha256):
            self._skipped(key_id)
            return None
        return KeyEntry(key_id, row.sha256, tenant, scopes)
