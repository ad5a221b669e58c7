"""The canonical hash of a Role's template: same content, same revision.

Hashed is what the user declared, less what equals the schema's default, so neither an
explicit default nor a new field with a default makes a revision; and the contents of
referenced ConfigMaps, frozen at that moment. The recipe has a version of its own, kept
in the revision: a revision is compared under the recipe that made it.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
import rfc8785
from msgspec import Struct

from rolehost_api.crd.role import RoleTemplate
from rolehost_api.errors import BadRequest

HASH_VERSION = 1


def declared(template: RoleTemplate) -> dict[str, Any]:
    """The template as plain JSON values without fields equal to their default.

    >>> from rolehost_api.crd.role import Model, Persona
    >>> declared(RoleTemplate(persona=Persona(system="You are a cat."), model=Model(backend="default")))
    {'persona': {'system': 'You are a cat.'}}
    """
    return _without_defaults(template)


def _without_defaults(spec: Struct) -> dict[str, Any]:
    """Compared by value: msgspec's own `omit_defaults` compares by identity."""
    kept: dict[str, Any] = {}
    for field in _fields(type(spec)):
        value = getattr(spec, field.name)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if value != default:
            kept[field.encode_name] = (
                _without_defaults(value) if isinstance(value, Struct) else msgspec.to_builtins(value)
            )
    return kept


@cache
def _fields(spec: type[Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Worked out from annotations each time; there are a few dozen types."""
    return msgspec.structs.fields(spec)


def template_hash(template: RoleTemplate, frozen: Mapping[str, str], version: int = HASH_VERSION) -> str:
    """SHA-256, hex, over version ‖ RFC 8785 JSON of the declared template and frozen contents.

    `frozen` maps a name within the revision to a ConfigMap's content. Raises BadRequest
    for a version that this code does not know.
    """
    if version != HASH_VERSION:
        raise BadRequest(f"hashVersion {version} is not known here", hint="Upgrade the operator")
    body = rfc8785.dumps({"template": declared(template), "frozen": dict(frozen)})
    return hashlib.sha256(f"{version}\n".encode() + body).hexdigest()
