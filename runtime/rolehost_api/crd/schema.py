"""From our types to Kubernetes' structural schema.

The types say it once: descriptions, bounds, patterns, enums and, as `__cel__`, the rules
beyond one field. Defaults are written into the schema only where they are plain values
and cannot reach a hash: the apiserver fills in what the schema defaults, and what it
filled into a template, or into the status, would look declared. Elsewhere the
description says the default, and the types hold it.
"""

from typing import Any

import msgspec
from msgspec import inspect

from rolehost_api.crd.role import RoleTemplate

Schema = dict[str, Any]


def structural(cls: type, *, defaults: bool = True) -> Schema:
    """The structural schema of a type of the API.

    >>> from rolehost_api.crd.role import Scaling
    >>> structural(Scaling)["properties"]["minReplicas"]["default"]
    1
    """
    return _schema(inspect.type_info(cls), defaults)


def describe(schema: Schema, text: str) -> Schema:
    """`schema` with a description, which reads first."""
    return {"description": text, **{key: value for key, value in schema.items() if key != "description"}}


def plain_default(field: inspect.Field) -> Any:
    """The field's default as a JSON value; None where it has none that says anything.

    Empty strings, lists and objects, and parts that are optional as a whole, say nothing.
    """
    if field.default is not msgspec.NODEFAULT:
        value = msgspec.to_builtins(field.default)
    elif field.default_factory is not msgspec.NODEFAULT:
        value = msgspec.to_builtins(field.default_factory())
    else:
        return None
    if isinstance(value, tuple):
        value = list(value)
    return None if value in ("", [], {}, None) else value


def peeled(kind: inspect.Type) -> tuple[inspect.Type, str, dict[str, Any]]:
    """The type under its annotations and its `| None`, with its description and extras."""
    text: str = ""
    extra: dict[str, Any] = {}
    while True:
        if isinstance(kind, inspect.Metadata):
            text = text or str((kind.extra_json_schema or {}).get("description", ""))
            extra = {**(kind.extra or {}), **extra}
            kind = kind.type
        elif isinstance(kind, inspect.UnionType):
            [kind] = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
        else:
            return kind, text, extra


def summary(cls: type) -> str:
    """The first paragraph of a class's docstring, on one line; empty where it has none."""
    text = cls.__dict__.get("__doc__") or ""
    return " ".join(text.split("\n\n")[0].split())


def _schema(kind: inspect.Type, defaults: bool) -> Schema:
    kind, text, extra = peeled(kind)
    schema = _bare(kind, extra, defaults)
    return describe(schema, text) if text else schema


def _bare(kind: inspect.Type, extra: dict[str, Any], defaults: bool) -> Schema:
    match kind:
        case inspect.StructType():
            return _struct(kind, defaults and kind.cls is not RoleTemplate)
        case inspect.StrType():
            bounds = {"minLength": kind.min_length, "maxLength": kind.max_length, "pattern": kind.pattern}
            return {"type": "string", **_given(bounds)}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            return {"type": "integer", "format": "int64", **_given({"minimum": kind.ge, "maximum": kind.le})}
        case inspect.EnumType():
            return {"type": "string", "enum": [one.value for one in kind.cls]}
        case inspect.ListType() | inspect.VarTupleType():
            bounds = {"minItems": kind.min_length, "maxItems": kind.max_length}
            return {
                "type": "array",
                "items": _schema(kind.item_type, defaults),
                **_given(bounds),
                **_merged_by(extra.get("list_map_key")),
            }
        case inspect.DictType():
            bounds = _given({"minProperties": kind.min_length, "maxProperties": kind.max_length})
            if extra.get("free_form"):
                return {"type": "object", "x-kubernetes-preserve-unknown-fields": True, **bounds}
            return {"type": "object", "additionalProperties": _schema(kind.value_type, defaults), **bounds}
    raise TypeError(f"a field of the API cannot be {kind!r}: no floats, no unions, nothing untyped")


def _struct(kind: inspect.StructType, defaults: bool) -> Schema:
    properties = {field.encode_name: _property(field, defaults) for field in kind.fields}
    schema: Schema = {"type": "object", "properties": properties}
    if text := summary(kind.cls):
        schema = describe(schema, text)
    if required := [field.encode_name for field in kind.fields if field.required]:
        schema["required"] = required
    if rules := getattr(kind.cls, "__cel__", ()):
        schema["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in rules]
    return schema


def _property(field: inspect.Field, defaults: bool) -> Schema:
    schema = _schema(field.type, defaults)
    value = plain_default(field)
    if value is None or isinstance(value, dict):
        return schema
    text = schema.get("description", "")
    said = ", ".join(value) if isinstance(value, list) else str(value)
    if defaults and not isinstance(value, list):
        schema["default"] = value
    return schema if "Default:" in text else describe(schema, f"{text} Default: {said.removesuffix('.')}.")


def _merged_by(key: str | None) -> Schema:
    """How server-side apply merges a list: entry by entry under `key`, or as a whole."""
    if key is None:
        return {"x-kubernetes-list-type": "atomic"}
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def _given(bounds: dict[str, Any]) -> Schema:
    return {name: value for name, value in bounds.items() if value is not None}
