"""RoleRevision: an immutable, content-addressed snapshot of a Role's template."""

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from rolehost_api.crd.common import Condition, ObjectMeta, Spec
from rolehost_api.crd.role import Cel, RoleTemplate
from rolehost_api.names import API_VERSION


class RevisionSpec(Spec, frozen=True, kw_only=True):
    __cel__: ClassVar[Cel] = (("self == oldSelf", "a revision never changes; change the Role and a new one is made"),)

    role_name: Annotated[str, Meta(description="The Role that this is a revision of.", min_length=1, max_length=253)]
    sequence: Annotated[int, Meta(description="Ordinal within the Role: @r1, @r2, …", ge=1)]
    hash_version: Annotated[int, Meta(description="The recipe of the hash.", ge=1)]
    hash: Annotated[
        str, Meta(description="SHA-256 over template and frozen contents.", pattern="^[0-9a-f]{64}$", max_length=64)
    ]
    template: Annotated[RoleTemplate, Meta(description="The template as it was declared.")]
    frozen: Annotated[
        dict[str, Annotated[str, Meta(description="A content.", max_length=262_144)]],
        Meta(
            description="Contents of referenced ConfigMaps at that moment, at most 256 KiB: "
            "persona/<key> and logic/<file>.",
            max_length=256,
        ),
    ] = {}


class RevisionStatus(Spec, frozen=True, kw_only=True):
    """Written only while a rollout or a drain concerns this revision."""

    conditions: Annotated[
        list[Condition], Meta(description="What is observed.", max_length=16, extra={"list_map_key": "type"})
    ] = []


class RoleRevision(Struct, frozen=True, kw_only=True, rename="camel"):
    """An immutable snapshot of a Role's template. Made by the operator; never edited."""

    api_version: str = API_VERSION
    kind: str = "RoleRevision"
    metadata: ObjectMeta = ObjectMeta()
    spec: RevisionSpec
    status: RevisionStatus = RevisionStatus()
