"""What was seen last of the cluster, and the picture of one Role out of it.

Filled by watches and by our own writes' answers, whichever is newer: an operator reads
what it wrote. What a listing does not show is swept away, so what vanished while nobody watched
goes too.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Container, Iterator, Mapping, MutableMapping, Set
from datetime import datetime
from types import MappingProxyType

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
from rolehost_operator.kube.shelf import Shelf, Stamp, stamp_of
from rolehost_operator.objects import KubeObject
from rolehost_operator.observed import (
    Key,
    Memory,
    Namespace,
    Observed,
    RoleSeen,
    Told,
    read_config_map,
    read_deployment,
    read_revision,
    read_role,
    standing,
)
from rolehost_operator.platform import Platform
from rolehost_operator.waves import Standing, Wave, wave

MOST_TOMBSTONES = 10_000
NOTHING_TOLD: Mapping[str, Told] = MappingProxyType({})
NOBODY_WARMED: Mapping[str, int] = MappingProxyType({})
SINGLE = {
    "NetworkPolicy": SANDBOX_POLICY,
    "ServiceAccount": SANDBOX_SERVICE_ACCOUNT,
    "PodDisruptionBudget": SANDBOX_BUDGET,
    "RuntimeClass": RUNTIME_CLASS,
    "Secret": LINK_SECRET,
}
"""Kinds of which one name matters; the others are not kept."""
MANY = ("Role", "RoleRevision", "Deployment")
"""Kinds of which there are as many as Roles, or more."""


class World:
    def __init__(self) -> None:
        self._objects: dict[str, MutableMapping[Key, KubeObject]] = defaultdict(dict)
        self._objects |= {kind: Shelf() for kind in MANY}
        self._children: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        """(kind, namespace, Role) → names."""
        self._roles: dict[str, set[str]] = defaultdict(set)
        self._tombstones: OrderedDict[tuple[str, str, str], int] = OrderedDict()
        self._stages: dict[Key, str] = {}
        """Of Roles that have a rollout or had one: where it is, empty for one that ended."""
        self._referring: set[Key] = set()
        """Roles that refer to a ConfigMap."""
        self._standings: dict[Key, Standing] = {}
        """Of all sandbox Deployments."""
        self._wave: tuple[str, int, Wave] | None = None
        """As worked out last, for which mark and share; None where one of them changed since."""
        self.granted: set[Key] = set()
        """Deployments that were told to roll and whose write is not answered yet."""
        self.memory: dict[Key, Memory] = {}
        self._looked_at: dict[Key, int] = {}
        """Roles' generations."""
        self.listed_config_maps: set[str] = set()
        """Namespaces whose ConfigMaps were listed; elsewhere an absence means nothing."""

    # ── filling ─────────────────────────────────────────────────────────────────────

    def put(self, raw: KubeObject) -> set[Key]:
        """Keep `raw` unless something newer is known; the Roles that it concerns."""
        kind, place = raw["kind"], place_of(raw)
        if not _kept(raw):
            return set()
        stamp, known = stamp_of(raw), self._stamp(kind, place)
        if known is not None and known.uid == stamp.uid:
            if stamp.version <= known.version:
                return set()
        elif stamp.version <= self._tombstones.get((kind, *place), -1):
            return set()
        raw["metadata"].pop("managedFields", None)
        self._objects[kind][place] = raw
        self._index(raw, place)
        return self._concerned(raw)

    def drop(self, raw: KubeObject) -> set[Key]:
        kind, place = raw["kind"], place_of(raw)
        known = self._objects[kind].get(place)
        self._tombstones[(kind, *place)] = stamp_of(raw).version
        if len(self._tombstones) > MOST_TOMBSTONES:
            self._tombstones.popitem(last=False)
        if known is None or known["metadata"].get("uid") != raw["metadata"].get("uid"):
            return set()
        del self._objects[kind][place]
        concerned = self._concerned(known)
        self._unindex(known, place)
        return concerned

    def sweep(self, kind: str, seen: Container[Key], version: str, namespace: str = "") -> set[Key]:
        """After a whole listing of a kind, of one namespace or of all: what was not seen in it is gone.

        But not what is newer than the listing: it was made meanwhile.
        """
        concerned: set[Key] = set()
        for place in [one for one in self._objects[kind] if one not in seen and namespace in ("", one[0])]:
            if self.version_of(kind, *place) <= int(version):
                concerned |= self.drop(self._objects[kind][place])
        return concerned

    def gone(self, kind: str, namespace: str, name: str, version: int) -> set[Key]:
        """Asked for by name and not found; but not if another than that of `version` was made meanwhile."""
        known = self._objects[kind].get((namespace, name))
        return self.drop(known) if known is not None and stamp_of(known).version == version else set()

    def _stamp(self, kind: str, place: Key) -> Stamp | None:
        objects = self._objects[kind]
        if place not in objects:
            return None
        return objects.stamp(place) if isinstance(objects, Shelf) else stamp_of(objects[place])

    def forget_config_maps(self, namespace: str) -> None:
        """Nobody watches them there any more. Our own is asked for by name."""
        self.listed_config_maps.discard(namespace)
        for place in [place for place in self._objects["ConfigMap"] if place[0] == namespace]:
            if place[1] != PLATFORM_KEYS:
                del self._objects["ConfigMap"][place]

    # ── reading ─────────────────────────────────────────────────────────────────────

    def roles(self) -> Iterator[Key]:
        yield from list(self._objects["Role"])

    def with_rollouts(self) -> Iterator[KubeObject]:
        """Tenants' Roles that have a rollout or had one, as the apiserver told them."""
        for key in list(self._stages):
            raw = self._objects["Role"].get(key)
            if raw is not None and self.is_tenant(key[0]):
                yield raw

    def in_rollout(self, stages: Set[str]) -> Iterator[tuple[Key, RoleSeen]]:
        """Roles whose status tells of a rollout in one of these stages; the others are not read."""
        for key, stage in list(self._stages.items()):
            raw = self._objects["Role"].get(key) if stage in stages else None
            if raw is not None and self.is_tenant(key[0]):
                yield key, read_role(raw)

    def rollout_id(self, key: Key, stages: Set[str]) -> str:
        """Of the Role's rollout; empty where none is in one of these stages."""
        if self._stages.get(key) not in stages:
            return ""
        return str(self._objects["Role"][key]["status"]["rollout"].get("id", ""))

    def is_tenant(self, namespace: str) -> bool:
        raw = self._objects["Namespace"].get(("", namespace))
        return raw is not None and TENANT in raw["metadata"].get("labels", {})

    def namespace_uid(self, name: str) -> str:
        """Empty for one that is not known."""
        raw = self._objects["Namespace"].get(("", name))
        return str(raw["metadata"]["uid"]) if raw is not None else ""

    def version_of(self, kind: str, namespace: str, name: str) -> int:
        """0 for what is not known."""
        known = self._stamp(kind, (namespace, name))
        return known.version if known is not None else 0

    def looked_at(self, key: Key) -> None:
        """What is declared of this Role now is being looked after."""
        if (stamp := self._stamp("Role", key)) is not None:
            self._looked_at[key] = stamp.generation

    def forget_looks(self) -> None:
        """As if nobody had looked at any Role."""
        self._looked_at.clear()

    def is_edited(self, key: Key) -> bool:
        """Whether something is declared of this Role that nobody looked at."""
        stamp = self._stamp("Role", key)
        return stamp is not None and stamp.generation != self._looked_at.get(key)

    def revision_names(self, key: Key) -> list[str]:
        return sorted(self._children["RoleRevision", *key])

    def config_map_namespaces(self) -> set[str]:
        """Tenant namespaces where a Role refers to a ConfigMap."""
        return {key[0] for key in self._referring if self.is_tenant(key[0])}

    def awaits_config_maps(self, key: Key) -> bool:
        """Whether this Role cannot be judged until its namespace's ConfigMaps were listed."""
        return key in self._referring and key[0] not in self.listed_config_maps and self.is_tenant(key[0])

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
        rollouts: Mapping[str, Told] = NOTHING_TOLD,
        warmed: Mapping[str, int] = NOBODY_WARMED,
        expected: int = 0,
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
            rollouts=rollouts,
            warmed=warmed,
            expected=expected,
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
            self._note_rollout(raw, place)
            self._note_references(raw, place)
        elif parent := _parent(raw):
            self._children[raw["kind"], place[0], parent].add(place[1])
        if raw["kind"] == "Deployment":
            self._stand(place, standing(raw))

    def _note_rollout(self, raw: KubeObject, place: Key) -> None:
        status = raw.get("status") or {}
        stage = str((status.get("rollout") or {}).get("stage") or "")
        if stage or status.get("history"):
            self._stages[place] = stage
        else:
            self._stages.pop(place, None)

    def _note_references(self, raw: KubeObject, place: Key) -> None:
        seen = read_role(raw)
        if seen.spec and references(seen.spec.template):
            self._referring.add(place)
        else:
            self._referring.discard(place)

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
            self._looked_at.pop(place, None)
            self._stages.pop(place, None)
            self._referring.discard(place)
        elif parent := _parent(raw):
            self._children[raw["kind"], place[0], parent].discard(place[1])
        if raw["kind"] == "Deployment":
            self._stand(place, None)

    def _concerned(self, raw: KubeObject) -> set[Key]:
        """Whose picture this object is in. Too many is harmless: a ring carries no meaning."""
        namespace, name = place_of(raw)
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


def place_of(raw: KubeObject) -> Key:
    return raw["metadata"].get("namespace", ""), raw["metadata"]["name"]
