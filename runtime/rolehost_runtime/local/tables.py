"""The gateway's tables, filled from manifests in folders instead of from a cluster.

A revision is made as the operator makes it, by the canonical hash of the template, and
its ordinal is kept in the data directory. An edited Role gets its new revision beside the
old one; `promote` makes it stable when its logic is loaded, so a broken edit never takes
a turn.
"""

import json
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path

from msgspec.structs import replace

from rolehost.cli import checkout
from rolehost_api.canonical import HASH_VERSION, template_hash
from rolehost_api.crd.modelbackend import BackendSpec, ServedModel
from rolehost_api.crd.revision import RevisionSpec
from rolehost_api.crd.role import Role, RoleTemplate
from rolehost_api.errors import Finding, InvalidManifest, NotFound
from rolehost_api.names import revision_name
from rolehost_runtime.gateway.tables import PodEntry, RevisionEntry, RoleEntry, Tables, Tenant

LOCAL = Tenant("local", "local")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A Role of a checkout, its files packed and its references looked up."""

    role: Role
    template: RoleTemplate
    frozen: Mapping[str, str]
    archive: bytes = b""

    @property
    def name(self) -> str:
        return self.role.metadata.name

    @property
    def hash(self) -> str:
        return template_hash(self.template, self.frozen)

    @property
    def revision(self) -> str:
        return revision_name(self.name, self.hash)


def wanted(here: checkout.Checkout) -> list[Wanted]:
    """The Roles of a checkout. Raises InvalidManifest or InvalidBundle, which name file and line."""
    return [_wanted(here, role) for role in here.roles]


def _wanted(here: checkout.Checkout, role: Role) -> Wanted:
    template = role.spec.template
    frozen = _frozen(here, template)
    if not checkout.uses_files(template.logic):
        return Wanted(role, template, frozen)
    if faults := checkout.syntax_faults(here.folder):
        raise InvalidManifest(str(here.folder), [Finding("logic", fault) for fault in faults])
    packed = checkout.pack(here, role)
    assert template.logic is not None
    logic = replace(template.logic, bundle=packed.digest)
    return Wanted(role, replace(template, logic=logic), frozen, packed.archive)


def _frozen(here: checkout.Checkout, template: RoleTemplate) -> dict[str, str]:
    """Contents of the ConfigMaps that the template names, by name within the revision."""
    frozen: dict[str, str] = {}
    if template.persona_from is not None:
        content = _config_map(here, "spec.template.personaFrom", template.persona_from.config_map_ref.name)
        frozen |= {f"persona/{key}": content[key] for key in ("system", "greeting") if key in content}
    if template.logic is not None and template.logic.config_map_ref is not None:
        content = _config_map(here, "spec.template.logic", template.logic.config_map_ref.name)
        frozen |= {f"logic/{key}": text for key, text in content.items() if key.endswith(".py")}
    return frozen


def _config_map(here: checkout.Checkout, path: str, name: str) -> dict[str, str]:
    found = here.config_maps.get(name)
    if found is None:
        finding = Finding(
            f"{path}.configMapRef", f"there is no ConfigMap {name}", "Put it into the same file, after ---"
        )
        raise InvalidManifest(str(here.manifest), [finding])
    return found


def standing_in(model: BackendSpec, asked: set[str]) -> BackendSpec:
    """The machine's one model, answering to every model name that a Role asks for."""
    if not model.models:
        return model
    known = {served.name for served in model.models}
    more = [ServedModel(name=name, model=model.models[0].model) for name in sorted(asked - known - {""})]
    return replace(model, models=[*model.models, *more])


class FileTables:
    """Fills `tables`; also ports.Bundles, for the files that it packed."""

    def __init__(self, tables: Tables, ordinals: Path, model: BackendSpec) -> None:
        self.tables = tables
        self._ordinals, self._model = ordinals, model
        self._archives: dict[str, bytes] = {}
        self._backends: dict[str, BackendSpec] = {}
        self.embeddings: BackendSpec | None = None
        """What tells meanings on this machine, for every name that a Role's memory asks for and nobody declared."""
        self.newest: dict[str, str] = {}
        """Role → the revision that its files make now."""
        tables.tenants.replace_all({(LOCAL.name,): LOCAL})
        for name in tables.unfilled:
            getattr(tables, name).filled = True

    async def fetch(self, tenant: Tenant, digest: str) -> bytes:
        archive = self._archives.get(digest)
        if archive is None or tenant != LOCAL:
            raise NotFound("there are no files with this digest", code="bundle_not_found")
        return archive

    # ── what the files say ──────────────────────────────────────────────────────────

    def declare(self, found: list[Wanted], backends: Mapping[str, BackendSpec]) -> None:
        """Take over all Roles and backends of all checkouts; what is not among them any more goes."""
        self._backends = dict(backends)
        for name in self.newest.keys() - {item.name for item in found}:
            self._forget(name)
        for item in found:
            self._declare(item)
        self._serve_models([item.template for item in found])

    def _declare(self, item: Wanted) -> None:
        if item.archive and item.template.logic is not None:
            self._archives[item.template.logic.bundle] = item.archive
        key = (LOCAL.name, item.name)
        before = self.tables.roles.get(*key)
        if self.tables.revisions.get(LOCAL.name, item.revision) is None:
            self.tables.revisions.put(
                (LOCAL.name, item.revision), RevisionEntry(LOCAL, item.revision, self._spec(item))
            )
        stable, made = (before.stable, before.created_at) if before else ("", int(time.time()))
        entry = RoleEntry(LOCAL, item.name, item.role.spec, stable, follow=True, created_at=made)
        self.tables.roles.put(key, entry)
        self.newest[item.name] = item.revision
        if not self._pods(item.revision):
            uid = secrets.token_hex(8)
            pod = PodEntry(LOCAL, uid, f"{item.revision}-{uid[:5]}", item.name, item.revision, address="process")
            self.tables.pods.put((uid,), pod)

    def _spec(self, item: Wanted) -> RevisionSpec:
        return RevisionSpec(
            role_name=item.name,
            sequence=self._ordinal(item.name, item.hash),
            hash_version=HASH_VERSION,
            hash=item.hash,
            template=item.template,
            frozen=dict(item.frozen),
        )

    def _ordinal(self, role: str, digest: str) -> int:
        """@r1, @r2, …: the same content gets its old number back, also after a restart."""
        try:
            seen = json.loads(self._ordinals.read_text())
        except (OSError, ValueError):
            seen = {}
        hashes = seen.setdefault(role, [])
        if digest not in hashes:
            hashes.append(digest)
            fresh = self._ordinals.with_suffix(".new")
            fresh.write_text(json.dumps(seen))
            fresh.replace(self._ordinals)
        return int(hashes.index(digest)) + 1

    def _serve_models(self, templates: list[RoleTemplate]) -> None:
        """Declared backends as they are; for every other name that a Role uses, the model of this machine."""
        asked = {template.model.name for template in templates if template.model.backend not in self._backends}
        served = dict.fromkeys((template.model.backend for template in templates), standing_in(self._model, asked))
        if self.embeddings is not None:
            named = (template.memory.embeddings.backend for template in templates)
            served |= dict.fromkeys(filter(None, named), self.embeddings)
        served |= self._backends
        self.tables.backends.replace_all({(name,): backend for name, backend in served.items()})

    # ── what runs ───────────────────────────────────────────────────────────────────

    def loaded(self, uid: str) -> None:
        """The pod's logic is loaded: what the kubelet says of a pod in a cluster. Nothing takes it back."""
        pod = self.tables.pods.get(uid)
        if pod is not None:
            self.tables.pods.put((uid,), changed(pod, ready=True))

    def promote(self, role: str, revision: str) -> bool:
        """The revision's logic is loaded: new turns go there. False where that was so already."""
        key = (LOCAL.name, role)
        entry = self.tables.roles.get(*key)
        if entry is None or self.newest.get(role) != revision or entry.stable == revision:
            return False
        before = entry.stable
        self.tables.roles.put(key, changed(entry, stable=revision))
        self._keep_only(role, {before, revision})
        return True

    def give_up(self, role: str, revision: str) -> None:
        """The revision's logic does not load: its process goes, what serves goes on serving."""
        entry = self.tables.roles.get(LOCAL.name, role)
        if entry is not None and entry.stable != revision:
            self._end(revision)

    def _keep_only(self, role: str, kept: set[str]) -> None:
        for revision in tuple(self.tables.revisions.values()):
            if revision.spec.role_name == role and revision.name not in kept:
                self._end(revision.name)

    def _forget(self, role: str) -> None:
        self._keep_only(role, set())
        self.tables.roles.drop((LOCAL.name, role))
        del self.newest[role]

    def _end(self, revision: str) -> None:
        for pod in self._pods(revision):
            self.tables.pods.drop((pod.uid,))
        entry = self.tables.revisions.get(LOCAL.name, revision)
        self.tables.revisions.drop((LOCAL.name, revision))
        logic = entry.spec.template.logic if entry else None
        used = {
            other.spec.template.logic.bundle
            for other in self.tables.revisions.values()
            if other.spec.template.logic is not None
        }
        if logic is not None and logic.bundle not in used:
            self._archives.pop(logic.bundle, None)

    def _pods(self, revision: str) -> Collection[PodEntry]:
        return self.tables.pods.of(LOCAL, revision)
