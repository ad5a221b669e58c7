"""Our kinds as Kubernetes lists them: names, scope, and what `kubectl get` shows."""

from dataclasses import dataclass

import msgspec

from rolehost_api.crd.modelbackend import ModelBackend
from rolehost_api.crd.revision import RoleRevision
from rolehost_api.crd.role import Role
from rolehost_api.names import BACKENDS, READY, REVISIONS, ROLES


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; `wide` ones show with -o wide only."""

    name: str
    path: str
    type: str = "string"
    description: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    cls: type[msgspec.Struct]
    plural: str
    singular: str
    short: str
    columns: tuple[Column, ...]
    namespaced: bool = True
    status: bool = True


def ready(field: str) -> str:
    return f'.status.conditions[?(@.type=="{READY}")].{field}'


CONTRACT_NUMBER = 1
"""Of the schemas, as the CRDs carry it. One more whenever they gain something beside what a release had;
they never lose anything. An operator does not work with CRDs of a lower number: they would drop fields."""
AGE = Column("Age", ".metadata.creationTimestamp", "date")
KINDS = (
    Kind(
        Role,
        ROLES,
        "hostedrole",
        "rhr",
        (
            Column("Ready", ready("status"), description="Whether it answers."),
            Column("Revision", ".status.stableRevision", description="Takes new sessions."),
            Column("Canary", ".status.canaryRevision", description="Earns its traffic."),
            Column(
                "Percent",
                ".status.rollout.percent",
                "integer",
                description="Of new sessions, to the newest rollout's revision.",
            ),
            Column("Reason", ready("reason"), description="Why it is, or is not, ready."),
            AGE,
            Column("Latest", ".status.latestCreatedRevision", description="Of the newest template.", wide=True),
            Column("Message", ready("message"), description="What to do.", wide=True),
        ),
    ),
    Kind(
        RoleRevision,
        REVISIONS,
        "hostedrolerevision",
        "rhv",
        (
            Column("Role", ".spec.roleName", description="Whose revision this is."),
            Column("Sequence", ".spec.sequence", "integer", description="@r<sequence> in addresses."),
            AGE,
            Column("Hash", ".spec.hash", description="@sha256:<hash> in addresses.", wide=True),
        ),
    ),
    Kind(
        ModelBackend,
        BACKENDS,
        "modelbackend",
        "rhm",
        (
            Column("Type", ".spec.type", description="What the server speaks."),
            Column("URL", ".spec.baseURL", description="Where it is."),
            Column("Models", ".spec.models[*].name", description="What Roles call its models."),
            AGE,
        ),
        namespaced=False,
        status=False,
    ),
)
