"""The RoleRevision of a template: frozen inputs, hash, name, and the revision that already has them."""

from collections.abc import Mapping, Sequence

from rolehost_api.canonical import HASH_VERSION, template_hash
from rolehost_api.crd.role import MAX_FROZEN_BYTES, RoleTemplate
from rolehost_api.errors import BadRequest
from rolehost_api.names import (
    API_VERSION,
    CONFIG_MAP_NOT_FOUND,
    CONFIG_MAP_TOO_LARGE,
    INVALID_SPEC,
    ROLE,
    revision_name,
)
from rolehost_operator.desired.tenancy import KEPT
from rolehost_operator.objects import KubeObject, owned_by
from rolehost_operator.observed import RevisionSeen

SYSTEM, GREETING = "system", "greeting"


class Unresolved(BadRequest):
    """A reference of the template leads nowhere; `reason` is the condition's."""

    code = "unresolved"

    def __init__(self, reason: str, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


def references(template: RoleTemplate) -> set[str]:
    """Names of the ConfigMaps that the template refers to."""
    named = set()
    if template.persona_from:
        named.add(template.persona_from.config_map_ref.name)
    if template.logic and template.logic.config_map_ref:
        named.add(template.logic.config_map_ref.name)
    return named


def freeze(template: RoleTemplate, config_maps: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What the template refers to, by its name within the revision.

    persona/system, persona/greeting, logic/<file>. Raises Unresolved.
    """
    frozen: dict[str, str] = {}
    if template.persona_from:
        name = template.persona_from.config_map_ref.name
        entries = _entries(name, config_maps)
        if not entries.get(SYSTEM):
            raise Unresolved(
                INVALID_SPEC, f"ConfigMap {name} has no key '{SYSTEM}'", hint=f"Put the system prompt under '{SYSTEM}'"
            )
        frozen |= {f"persona/{key}": entries[key] for key in (SYSTEM, GREETING) if key in entries}
    if template.logic and template.logic.config_map_ref:
        name = template.logic.config_map_ref.name
        files = {key: text for key, text in _entries(name, config_maps).items() if key.endswith(".py")}
        if not files:
            raise Unresolved(
                INVALID_SPEC, f"ConfigMap {name} has no key that ends in .py", hint="Its keys are file names"
            )
        frozen |= {f"logic/{key}": text for key, text in files.items()}
    size = sum(len(text.encode()) for text in frozen.values())
    if size > MAX_FROZEN_BYTES:
        raise Unresolved(
            CONFIG_MAP_TOO_LARGE,
            f"the referenced ConfigMaps hold {size} bytes, more than {MAX_FROZEN_BYTES}",
            hint="Push larger logic as a bundle: rolehost push",
        )
    return frozen


def _entries(name: str, config_maps: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
    if name not in config_maps:
        raise Unresolved(
            CONFIG_MAP_NOT_FOUND, f"ConfigMap {name} is not in this namespace", hint="Create it, or correct the name"
        )
    return config_maps[name]


def same_content(
    template: RoleTemplate, frozen: Mapping[str, str], revisions: Sequence[RevisionSeen]
) -> RevisionSeen | None:
    """The revision that has this content already, compared under the recipe that hashed it.

    So neither an upgrade's new recipe nor going back to older content makes a revision.
    Of several the newest.
    """
    hashes: dict[int, str] = {}
    for revision in sorted(revisions, key=lambda seen: -seen.spec.sequence):
        version = revision.spec.hash_version
        if version not in hashes:
            try:
                hashes[version] = template_hash(template, frozen, version)
            except BadRequest:  # made by a newer operator; its recipe is not known here
                hashes[version] = ""
        if hashes[version] == revision.spec.hash:
            return revision
    return None


def role_revision(
    role: KubeObject, template: RoleTemplate, frozen: Mapping[str, str], revisions: Sequence[RevisionSeen]
) -> KubeObject:
    """A new revision of `role`: its template as it was declared, and what it refers to, by value."""
    name, namespace = role["metadata"]["name"], role["metadata"]["namespace"]
    digest = template_hash(template, frozen)
    spec: KubeObject = {
        "roleName": name,
        "sequence": max((seen.spec.sequence for seen in revisions), default=0) + 1,
        "hashVersion": HASH_VERSION,
        "hash": digest,
        "template": role["spec"]["template"],
    }
    if frozen:
        spec["frozen"] = dict(frozen)
    return _revision(revision_name(name, digest), namespace, role, spec)


def adopted(role: KubeObject, revision: RevisionSeen) -> KubeObject:
    """`revision` as a child of this Role: the one it was made for was deleted and applied again."""
    return _revision(revision.meta.name, revision.meta.namespace, role, revision.raw["spec"])


def _revision(name: str, namespace: str, role: KubeObject, spec: KubeObject) -> KubeObject:
    return {
        "apiVersion": API_VERSION,
        "kind": "RoleRevision",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {**KEPT, ROLE: role["metadata"]["name"]},
            "ownerReferences": [owned_by(role)],
        },
        "spec": spec,
    }
