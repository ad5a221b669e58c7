"""The JSON schema of a Role's manifest, for editors: the CRD's, with the behaviour's form where that is free-form."""

from typing import Any

import msgspec

from rolehost_api.crd.kinds import KINDS
from rolehost_api.crd.render import crd
from rolehost_runtime.core.dsl.forms import BehaviorForm

ID = "https://rolehost.io/schemas/v1alpha1/role.schema.json"


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12. Names that are no field are faults, as they are to `rolehost check`."""
    role = next(kind for kind in KINDS if kind.cls.__name__ == "Role")
    root = _closed(crd(role)["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    (_, parts) = msgspec.json.schema_components([BehaviorForm], ref_template="#/$defs/{name}")
    template = root["properties"]["spec"]["properties"]["template"]["properties"]
    template["behavior"] = {"$ref": "#/$defs/BehaviorForm", "description": template["behavior"]["description"]}
    del root["properties"]["status"]
    root["properties"]["metadata"] = {"type": "object"}
    root["properties"]["apiVersion"]["const"] = "rolehost.io/v1alpha1"
    root["properties"]["kind"]["const"] = "Role"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": ID, **root, "$defs": parts}


def _closed(part: Any) -> Any:
    """Without what only the apiserver reads, and closed where it lists its fields."""
    if isinstance(part, list):
        return [_closed(one) for one in part]
    if not isinstance(part, dict):
        return part
    found = {name: _closed(value) for name, value in part.items() if not name.startswith("x-kubernetes-")}
    if isinstance(found.get("properties"), dict) and "additionalProperties" not in found:
        found["additionalProperties"] = False
    return found
