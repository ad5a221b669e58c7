"""Roles as OpenAI's models. Pure."""

from typing import Literal

from msgspec import Struct

from rolehost_runtime.gateway.edge.views import stable_of
from rolehost_runtime.gateway.link.bind import greeting_of
from rolehost_runtime.gateway.tables import RoleEntry, Tables


class RoleBlock(Struct, frozen=True, kw_only=True):
    """What our Roles have and their models have not."""

    display_name: str
    greeting: str
    """What it says first in a new session; empty where it waits to be spoken to."""
    revision: str
    """name@r<sequence> that takes new sessions; empty while there is none."""
    ready: bool


class Model(Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["model"] = "model"
    created: int
    """When the Role was declared, seconds since 1970."""
    owned_by: str
    """The tenant."""
    role: RoleBlock


class ModelList(Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: tuple[Model, ...]


def model_of(role: RoleEntry, tables: Tables) -> Model:
    stable = stable_of(role, tables)
    block = RoleBlock(
        display_name=role.spec.display_name or role.name,
        greeting=greeting_of(stable) if stable else "",
        revision=f"{role.name}@r{stable.spec.sequence}" if stable else "",
        ready=stable is not None,
    )
    return Model(id=role.name, created=role.created_at, owned_by=role.tenant.name, role=block)
