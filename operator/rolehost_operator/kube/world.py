"""What was seen last of the cluster, and the picture of one Role out of it.

Filled by watches and by our own writes' answers, whichever is newer: an operator reads
what it wrote. A listing replaces a whole kind, so what vanished while nobody watched
goes too.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import msgspec

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.names import (
    LINK_SECRET,
    PLATFORM_KEYS,
    REVISION,
    ROLE,
    RUNTIME_CLASS,
    SANDBOX_BUDGET,
    SANDBOX_POLICY,
    SANDBOX_SERVICE_ACCOUNT,
    TENANT,
)
from rolehost_api.observed import PodReport
from rolehost_operator.desired.deployment import runtime_mark
from rolehost_operator.desired.revision import references
from rolehost_operator.objects import KubeObject
from rolehost_operator.observed import (
    Key,
    Memory,
    Namespace,
    Observed,
    read_config_map,
    read_deployment,
    read_revision,
    read_role,
    standing,
)
from rolehost_operator.platform import Platform
from rolehost_operator.waves import Standing, Wave, wave

MOST_TOMBSTONES = 10_000
SINGLE = {
    "NetworkPolicy": SANDBOX_POLICY,
    "ServiceAccount": SANDBOX_SERVICE_ACCOUNT,
    "PodDisruptionBudget": SANDBOX_BUDGET,
    "RuntimeClass": RUNTIME_CLASS,
    "Secret": LINK_SECRET,
}
"""Kinds of which one name matters; the others are not kept."""


class World:
    def __init__(self) -> None:
        self._objects: dict[str, dict[Key, KubeObject]] = defaultdict(dict)
        self._children: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        """(kind, namespace, Role) → names."""
        self._roles: dict[str, set[str]] = defaultdict(set)
        self._tombstones: OrderedDict[tuple[str, str, str], int] = OrderedDict()
        self._standings: dict[Key, Standing] = {}
        """Of all sandbox Deployments."""
        self._wave: tuple[str, int, Wave] | None = None
        """As worked out last, for which mark and share; None where one of them changed since."""
        self.granted: set[Key] = set()
        """Deployments that were told to roll and whose write is not answered yet."""
        self.memory: dict[Key, Memory] = {}
        self.listed_config_maps: set[str] = set()
        """Namespaces whose ConfigMaps were listed; elsewhere an absence means nothing."""

    # ── filling ─────────────────────────────────────────────────────────────────────

    def put(self, raw: KubeObject) -> set[Key]:
        """Keep `raw` unless something newer is known; the Roles that it concerns."""
        kind, place = raw["kind"], _place(raw)
        if not _kept(raw):
            return set()
        version = _version(raw)
        known = self._objects[kind].get(place)
        if known is not None and known["metadata"].get("uid") == raw["metadata"].get("uid"):
            if version <= _version(known):
                return set()
        elif version <= self._tombstones.get((kind, *place), -1):
            return set()
        raw["metadata"].pop("managedFields", None)
        self._objects[kind][place] = raw
        self._index(raw, place)
        return self._concerned(raw)

    def drop(self, raw: KubeObject) -> set[Key]:
        kind, place = raw["kind"], _place(raw)
        known = self._objects[kind].get(place)
        self._tombstones[(kind, *place)] = _version(raw)
        if len(self._tombstones) > MOST_TOMBSTONES:
            self._tombstones.popitem(last=False)
        if known is None or known["metadata"].get("uid") != raw["metadata"].get("uid"):
            return set()
        del self._objects[kind][place]
        concerned = self._concerned(known)
        self._unindex(known, place)
        return concerned

    def replace(self, kind: str, listed: Iterable[KubeObject], version: str, namespace: str = "") -> set[Key]:
        """A whole listing of a kind, of one namespace or of all: what is not in it is gone.

        But not what is newer than the listing: it was made meanwhile.
        """
        concerned: set[Key] = set()
        seen: set[Key] = set()
        for raw in listed:
            seen.add(_place(raw))
            concerned |= self.put(raw)
        for place, known in list(self._objects[kind].items()):
            if place not in seen and namespace in ("", place[0]) and _version(known) <= int(version):
                concerned |= self.drop(known)
        return concerned

    def gone(self, kind: str, namespace: str, name: str, version: int) -> set[Key]:
        """Asked for by name and not found; but not if another than that of `version` was made meanwhile."""
        known = self._objects[kind].get((namespace, name))
        return self.drop(known) if known is not None and _version(known) == version else set()

    def forget_config_maps(self, namespace: str) -> None:
        """Nobody watches them there any more. Our own is asked for by name."""
        self.listed_config_maps.discard(namespace)
        for place in [place for place in self._objects["ConfigMap"] if place[0] == namespace]:
            if place[1] != PLATFORM_KEYS:
                del self._objects["ConfigMap"][place]

    # ── reading ─────────────────────────────────────────────────────────────────────

    def roles(self) -> Iterator[Key]:
        yield from list(self._objects["Role"])

    def is_tenant(self, namespace: str) -> bool:
        raw = self._objects["Namespace"].get(("", namespace))
        return raw is not None and TENANT in raw["metadata"].get("labels", {})

    def namespace_uid(self, name: str) -> str:
        """Empty for one that is not known."""
        raw = self._objects["Namespace"].get(("", name))
        return str(raw["metadata"]["uid"]) if raw is not None else ""

    def version_of(self, kind: str, namespace: str, name: str) -> int:
        """0 for what is not known."""
        known = self._objects[kind].get((namespace, name))
        return _version(known) if known is not None else 0

    def revision_names(self, key: Key) -> list[str]:
        return sorted(self._children["RoleRevision", *key])

    def config_map_namespaces(self) -> set[str]:
        """Tenant namespaces where a Role refers to a ConfigMap."""
        return {key[0] for key in self._objects["Role"] if self._refers(key)}

    def awaits_config_maps(self, key: Key) -> bool:
        """Whether this Role cannot be judged until its namespace's ConfigMaps were listed."""
        return key[0] not in self.listed_config_maps and self._refers(key)

    def _refers(self, key: Key) -> bool:
        raw = self._objects["Role"].get(key)
        seen = read_role(raw) if raw and self.is_tenant(key[0]) else None
        return bool(seen and seen.spec and references(seen.spec.template))

    def wave(self, platform: Platform) -> Wave:
        """Where the upgrade to the platform's present runtime stands, over all tenants."""
        mark, percent = runtime_mark(platform), platform.upgrade_percent
        if self._wave is None or self._wave[:2] != (mark, percent):
            self._wave = mark, percent, wave(self._standings.values(), mark, percent)
        return self._wave[2].with_granted(
            sum(not self._standings.get(place, Standing()).rolling for place in self.granted)
        )

    def observe(
        self,
        key: Key,
        platform: Platform,
        pods: tuple[PodReport, ...],
        gateways: int,
        listening: bool,
        idle_since: Mapping[str, datetime],
        sessions: Mapping[str, int],
    ) -> Observed | None:
        """The picture of one Role; None where there is none, or not yet enough seen to judge it."""
        namespace = key[0]
        raw = self._objects["Role"].get(key)
        space = self._objects["Namespace"].get(("", namespace))
        if raw is None or space is None:
            return None
        role = read_role(raw)
        needed = references(role.spec.template) if role.spec else set()
        tenant = self.is_tenant(namespace)
        if self.awaits_config_maps(key):
            return None
        maps = self._objects["ConfigMap"]
        deployments = tuple(read_deployment(one) for one in self._of("Deployment", key))
        asks = any(one.standing.runtime != runtime_mark(platform) for one in deployments)
        now = self.wave(platform) if asks else None
        return Observed(
            role=role,
            namespace=Namespace(
                namespace, space["metadata"]["uid"], tenant, leaving=bool(space["metadata"].get("deletionTimestamp"))
            ),
            platform=platform,
            revisions=tuple(seen for one in self._of("RoleRevision", key) if (seen := read_revision(one)) is not None),
            deployments=deployments,
            network_policy=self._objects["NetworkPolicy"].get((namespace, SANDBOX_POLICY)),
            service_account=self._objects["ServiceAccount"].get((namespace, SANDBOX_SERVICE_ACCOUNT)),
            link_secret=self._objects["Secret"].get((namespace, LINK_SECRET)),
            platform_keys=maps.get((namespace, PLATFORM_KEYS)),
            disruption_budget=self._objects["PodDisruptionBudget"].get((namespace, SANDBOX_BUDGET)),
            runtime_class=("", RUNTIME_CLASS) in self._objects["RuntimeClass"],
            config_maps={one: read_config_map(maps[namespace, one]) for one in needed if (namespace, one) in maps},
            backends=dict(self._backends()),
            gateways=gateways,
            listening=listening,
            pods=pods,
            idle_since=idle_since,
            sessions=sessions,
            room=now.room if now else 0,
            halted=now is not None and now.halted,
            memory=self.memory.get(key, Memory()),
        )

    def _backends(self) -> Iterator[tuple[str, BackendSpec]]:
        for (_, name), raw in self._objects["ModelBackend"].items():
            try:
                yield name, msgspec.convert(raw.get("spec"), BackendSpec)
            except msgspec.ValidationError:
                continue  # as good as not there: the gateway cannot read it either

    def _of(self, kind: str, key: Key) -> Iterator[KubeObject]:
        for name in sorted(self._children[kind, *key]):
            yield self._objects[kind][key[0], name]

    # ── indexes ─────────────────────────────────────────────────────────────────────

    def _index(self, raw: KubeObject, place: Key) -> None:
        if raw["kind"] == "Role":
            self._roles[place[0]].add(place[1])
        elif parent := _parent(raw):
            self._children[raw["kind"], place[0], parent].add(place[1])
        if raw["kind"] == "Deployment":
            self._stand(place, standing(raw))

    def _stand(self, place: Key, now: Standing | None) -> None:
        if self._standings.get(place) == now:
            return
        self._wave = None
        if now is None:
            del self._standings[place]
        else:
            self._standings[place] = now

    def _unindex(self, raw: KubeObject, place: Key) -> None:
        if raw["kind"] == "Role":
            self._roles[place[0]].discard(place[1])
            self.memory.pop(place, None)
        elif parent := _parent(raw):
            self._children[raw["kind"], place[0], parent].discard(place[1])
        if raw["kind"] == "Deployment":
            self._stand(place, None)

    def _concerned(self, raw: KubeObject) -> set[Key]:
        """Whose picture this object is in. Too many is harmless: a ring carries no meaning."""
        namespace, name = _place(raw)
        match raw["kind"]:
            case "Role":
                return {(namespace, name)}
            case "RoleRevision" | "Deployment":
                return {(namespace, parent)} if (parent := _parent(raw)) else set()
            case "Namespace":
                return {(name, role) for role in self._roles[name]}
            case "RuntimeClass" | "ModelBackend":
                return set(self._objects["Role"])
            case _:
                return {(namespace, role) for role in self._roles[namespace]}


def _kept(raw: KubeObject) -> bool:
    kind, metadata = raw["kind"], raw["metadata"]
    if kind in SINGLE:
        return bool(metadata["name"] == SINGLE[kind])
    return kind != "Deployment" or REVISION in metadata.get("labels", {})


def _parent(raw: KubeObject) -> str:
    """The Role that a child belongs to: by its spec, or by our label on what has no such field."""
    if raw["kind"] == "RoleRevision":
        return str((raw.get("spec") or {}).get("roleName", ""))
    if raw["kind"] == "Deployment":
        return str(raw["metadata"].get("labels", {}).get(ROLE, ""))
    return ""


def _place(raw: KubeObject) -> Key:
    return raw["metadata"].get("namespace", ""), raw["metadata"]["name"]


def _version(raw: KubeObject) -> int:
    """Versions of one object compare as numbers, by the API's own conventions since 1.35 and by etcd's before."""
    version = str(raw["metadata"].get("resourceVersion", ""))
    return int(version) if version.isdigit() else 0
