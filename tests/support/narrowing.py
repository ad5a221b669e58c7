"""What a schema refuses, or lost, that an earlier one let in: objects that are stored would not be good any more."""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
LOWER = ("minimum", "minLength", "minItems", "minProperties")
UPPER = ("maximum", "maxLength", "maxItems", "maxProperties")
FIXED = (
    *("type", "format", "pattern", "default", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
    "x-kubernetes-preserve-unknown-fields",
)


def definition_narrowings(old: Schema, new: Schema) -> Iterator[str]:
    """Of a CustomResourceDefinition: its names and scope are part of it too."""
    for field in ("group", "scope", "names"):
        if old["spec"][field] != new["spec"][field]:
            yield f"{field} is not what it was"
    versions = {version["name"]: version for version in new["spec"]["versions"]}
    for version in old["spec"]["versions"]:
        name = version["name"]
        if name not in versions or not versions[name]["served"]:
            yield f"{name} is not served any more"
            continue
        if version.get("subresources", {}).keys() - versions[name].get("subresources", {}).keys():
            yield f"{name} lost a subresource"
        yield from narrowings(version["schema"]["openAPIV3Schema"], versions[name]["schema"]["openAPIV3Schema"], name)


def narrowings(old: Schema, new: Schema, path: str = "") -> Iterator[str]:
    """
    >>> list(narrowings({"type": "integer", "maximum": 5}, {"type": "integer", "maximum": 6}, "a"))
    []
    >>> list(narrowings({"type": "integer"}, {"type": "integer", "maximum": 6}, "a"))
    ['a: maximum is 6 and was not there']
    """
    for field in FIXED:
        if old.get(field) != new.get(field):
            yield f"{path}: {field} is {new.get(field)!r} and was {old.get(field)!r}"
    for field, tighter in (*((one, max) for one in LOWER), *((one, min) for one in UPPER)):
        if field in new and field not in old:
            yield f"{path}: {field} is {new[field]} and was not there"
        elif field in new and tighter(old[field], new[field]) != old[field]:
            yield f"{path}: {field} is {new[field]} and was {old[field]}"
    if "enum" in new and (gone := set(old.get("enum", ["anything"])) - set(new["enum"])):
        yield f"{path}: {', '.join(sorted(gone))} is not allowed any more"
    if asked := set(new.get("required", ())) - set(old.get("required", ())):
        yield f"{path}: {', '.join(sorted(asked))} is required"
    rules = {rule["rule"] for rule in old.get("x-kubernetes-validations", ())}
    for rule in new.get("x-kubernetes-validations", ()):
        if rule["rule"] not in rules:
            yield f"{path}: there is a new rule, {rule['rule']}"
    for name, part in old.get("properties", {}).items():
        if name in new.get("properties", {}):
            yield from narrowings(part, new["properties"][name], f"{path}.{name}")
        else:
            yield f"{path}.{name} is gone"
    for field in ("items", "additionalProperties"):
        if field in old and field in new:
            yield from narrowings(old[field], new[field], f"{path}[]")
        elif field in old:
            yield f"{path}[] is gone"
