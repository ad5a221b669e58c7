"""The manifest reference: a page with a table for every part of every kind."""

from collections.abc import Iterator
from typing import Any

from msgspec import inspect

from rolehost_api.crd.kinds import KINDS
from rolehost_api.crd.schema import peeled, plain_default, summary
from rolehost_api.names import GROUP, ROLES, VERSION


def reference() -> str:
    """The page that documents every field of every kind."""
    lines = [
        "<!-- Rendered from the types by `make render`; do not edit. -->",
        "# Manifests",
        "",
        f"All kinds are of `apiVersion: {GROUP}/{VERSION}`. `kubectl explain` shows the same, e.g. "
        f"`kubectl explain {ROLES}.spec.template`.",
    ]
    for kind in KINDS:
        where = "in a namespace" if kind.namespaced else "for the whole cluster"
        lines += ["", f"## {kind.cls.__name__}", "", summary(kind.cls)]
        lines += ["", f"`kubectl get {kind.plural}`, short `{kind.short}`; {where}."]
        info = inspect.type_info(kind.cls)
        assert isinstance(info, inspect.StructType)
        lines += _rules(info)
        for field in info.fields:
            if field.name in {"spec", "status"}:
                lines += _section(field.encode_name, field.type)
    return "\n".join(lines) + "\n"


def _section(path: str, kind: inspect.Type) -> Iterator[str]:
    """A table of the fields under `path`, then the same of each part that has fields of its own."""
    struct = peeled(kind)[0]
    assert isinstance(struct, inspect.StructType)
    yield from ("", f"### `{path}`")
    if text := summary(struct.cls):
        yield from ("", text)
    yield from ("", "| Field | Type | Default | Bounds | |", "|---|---|---|---|---|")
    parts: list[tuple[str, inspect.Type]] = []
    for field in struct.fields:
        inner, text, _ = peeled(field.type)
        default = plain_default(field)
        shown = "required" if field.required else _shown(default)
        cells = (f"`{field.encode_name}`", _type_name(inner), shown, _bounds(inner), text)
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
        item = peeled(inner.item_type)[0] if isinstance(inner, inspect.ListType | inspect.VarTupleType) else inner
        if isinstance(item, inspect.StructType):
            parts.append((f"{path}.{field.encode_name}{'' if item is inner else '[]'}", item))
    yield from _rules(struct)
    for name, part in parts:
        yield from _section(name, part)


def _shown(default: Any) -> str:
    """A default as the table shows it; that of an object is in its own table."""
    if default is None or isinstance(default, dict):
        return ""
    return ", ".join(f"`{one}`" for one in default) if isinstance(default, list) else f"`{default}`"


def _rules(struct: inspect.StructType) -> Iterator[str]:
    rules = getattr(struct.cls, "__cel__", ())
    if rules:
        yield ""
    for _, message in rules:
        yield f"- Rule: {message}."


def _type_name(kind: inspect.Type) -> str:
    match kind:
        case inspect.StrType():
            return "string"
        case inspect.IntType():
            return "integer"
        case inspect.BoolType():
            return "boolean"
        case inspect.EnumType():
            return " or ".join(f"`{one.value}`" for one in kind.cls)
        case inspect.ListType() | inspect.VarTupleType():
            return f"list of {_type_name(peeled(kind.item_type)[0])}"
        case inspect.DictType():
            return "map"
    return "object"


def _bounds(kind: inspect.Type) -> str:
    match kind:
        case inspect.StrType():
            length = _range(kind.min_length, kind.max_length, " characters")
            return ", ".join(part for part in (length, f"`{kind.pattern}`" if kind.pattern else "") if part)
        case inspect.IntType():
            return _range(kind.ge, kind.le, "")
        case inspect.ListType() | inspect.VarTupleType() | inspect.DictType():
            return _range(kind.min_length, kind.max_length, " entries")
    return ""


def _range(low: int | None, high: int | None, unit: str) -> str:
    """
    >>> _range(1, 63, " characters"), _range(None, 63, ""), _range(1, None, ""), _range(None, None, "")
    ('1 to 63 characters', 'at most 63', 'at least 1', '')
    """
    if low is not None and high is not None:
        return f"{low} to {high}{unit}"
    if high is not None:
        return f"at most {high}{unit}"
    return "" if low is None else f"at least {low}{unit}"
