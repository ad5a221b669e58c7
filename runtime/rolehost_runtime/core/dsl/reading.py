"""YAML nodes along a form: plain values of what can be used, places of all of it, and every fault of shape."""

from collections.abc import Iterable
from typing import Any

import msgspec
import yaml
from msgspec import inspect

from rolehost_api.errors import Finding
from rolehost_api.manifest.reading import is_null, plain
from rolehost_runtime.core.dsl.expressions import Problem
from rolehost_runtime.core.dsl.expressions.checking import meant
from rolehost_runtime.core.dsl.places import Source, Where

MAX_FINDINGS = 100


class Unusable(Exception):
    """A value that cannot be used; why was said."""


class Reader:
    def __init__(self, source: Source, base: str) -> None:
        self._source, self._base = source, base
        self.findings: list[Finding] = []
        self.nodes: dict[str, yaml.Node] = {}
        """Path below the base → the value's node."""
        self.names: dict[str, yaml.Node] = {}
        """Path → the node of its key."""
        self.broken: set[str] = set()
        """Paths of which something could not be used."""
        self._stack: list[str] = []

    @property
    def full(self) -> bool:
        """Nobody mends more at once, so there is no use in looking for more."""
        return len(self.findings) >= MAX_FINDINGS

    # ── what is wrong ───────────────────────────────────────────────────────────────

    def say(self, code: str, path: str, message: str, hint: str = "", *, name: bool = False) -> None:
        """`name`: it is the key that is wrong, not the value."""
        node = (self.names if name else self.nodes).get(path) or self.names.get(path) or self.nodes.get(path)
        self._found(code, path, message, hint, self._source.of(node))

    def say_within(self, path: str, problem: Problem) -> None:
        """Something is wrong in the expression at `path`."""
        node = self.nodes.get(path)
        where = self._source.within(node, problem.span) if isinstance(node, yaml.ScalarNode) else None
        self._found(problem.code, path, problem.message, problem.hint, where)

    def _found(self, code: str, path: str, message: str, hint: str, where: Where | None) -> None:
        if self.full:
            return
        at = f"{self._base}.{path}" if path and not path.startswith("[") else f"{self._base}{path}"
        if where is None:
            self.findings.append(Finding(at, message, hint, code=code))
        else:
            excerpt = self._source.excerpt(where)
            self.findings.append(Finding(at, message, hint, where.line + 1, where.column + 1, code, excerpt))

    # ── values ──────────────────────────────────────────────────────────────────────

    def read(self, node: yaml.Node, kind: inspect.Type, path: str = "") -> Any:
        """The plain value. Raises Unusable where nothing of it can be used."""
        self.nodes[path] = node
        self._stack.append(path)
        try:
            return self._read(node, kind, path)
        finally:
            self._stack.pop()

    def _read(self, node: yaml.Node, kind: inspect.Type, path: str) -> Any:
        meta, kind = _bare(kind)
        match kind:
            case inspect.StructType():
                return self._struct(node, kind, path)
            case inspect.DictType():
                return self._map(node, kind, path)
            case inspect.ListType():
                return self._list(node, kind, path)
            case inspect.AnyType():
                return self._any(node, path)
            case _:
                return self._scalar(node, kind, path, meta)

    def _wrong(self, code: str, path: str, message: str, hint: str = "") -> Unusable:
        self.say(code, path, message, hint)
        self._broke(path)
        return Unusable()

    def _broke(self, path: str) -> None:
        """And all that it is a part of."""
        self.broken.update((path, *self._stack))

    def _struct(self, node: yaml.Node, kind: inspect.StructType, path: str) -> dict[str, Any]:
        fields = {one.encode_name: one for one in kind.fields}
        if not isinstance(node, yaml.MappingNode):
            raise self._wrong(
                "wrong_type", path, f"must be an object, not {_said(node)}", f"It has {', '.join(fields)}"
            )
        found: dict[str, Any] = {}
        for name, value, at in self._items(node, path):
            if name not in fields:
                self.say("unknown_field", at, "is not a field", meant(name, fields), name=True)
                self._broke(path)
            elif is_null(value):
                self.say("empty", at, "is empty", "Give it a value, or leave the field out", name=True)
                self._broke(path)
            else:
                self._into(found, name, value, fields[name].type, at)
        missing = [name for name, one in fields.items() if one.required and name not in found]
        for name in missing:
            if f"{path}.{name}".lstrip(".") not in self.broken:
                self.say("missing_field", path, f"has no {name}", f"Write {name}: …")
        if missing:
            self._broke(path)
            raise Unusable
        return found

    def _into(self, found: dict[str, Any], name: str, node: yaml.Node, kind: inspect.Type, at: str) -> None:
        try:
            found[name] = self.read(node, kind, at)
        except Unusable:
            self._broke(at)

    def _map(self, node: yaml.Node, kind: inspect.DictType, path: str) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise self._wrong("wrong_type", path, f"must be an object, not {_said(node)}", "Write name: value")
        self._length(len(node.value), kind, path, "entries")
        found: dict[str, Any] = {}
        for name, value, at in self._items(node, path):
            if is_null(value) and not isinstance(_bare(kind.value_type)[1], inspect.AnyType):
                self.say("empty", at, "is empty", f"Write {name[:64]}: {{}}", name=True)
                self._broke(at)
            else:
                self._into(found, name, value, kind.value_type, at)
        return found

    def _items(self, node: yaml.MappingNode, path: str) -> Iterable[tuple[str, yaml.Node, str]]:
        seen: set[str] = set()
        for key, value in node.value:
            if self.full:
                return
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                self.names[f"{path}.?".lstrip(".")] = key
                self.say("wrong_type", f"{path}.?".lstrip("."), "is no name", "Names are plain words", name=True)
                continue
            name = str(key.value)
            at = f"{path}.{name}" if path else name
            if name in seen:
                self.names[at] = key
                self.say("duplicate", at, "is given twice", "Keep one of the two", name=True)
                continue
            seen.add(name)
            self.names[at] = key
            yield name, value, at

    def _list(self, node: yaml.Node, kind: inspect.ListType, path: str) -> list[Any]:
        if not isinstance(node, yaml.SequenceNode):
            hint = "Write its items one a line after '- '"
            raise self._wrong("wrong_type", path, f"must be a list, not {_said(node)}", hint)
        self._length(len(node.value), kind, path, "items")
        found: list[Any] = []
        for place, item in enumerate(node.value[: kind.max_length or None]):
            at = f"{path}[{place}]"
            try:
                found.append(self.read(item, kind.item_type, at))
            except Unusable:
                self._broke(at)
                found.append(None)
        return found

    def _any(self, node: yaml.Node, path: str) -> Any:
        """A scalar, or a list of them: what a state's field can hold."""
        items = node.value if isinstance(node, yaml.SequenceNode) else (node,)
        if len(items) > 256 or not all(isinstance(item, yaml.ScalarNode) for item in items):
            raise self._wrong(
                "wrong_type", path, "must be a plain value", "Write a number, true, false, text or a list"
            )
        try:
            return plain(node)
        except ValueError as error:
            raise self._wrong("wrong_type", path, str(error)) from None

    def _scalar(self, node: yaml.Node, kind: inspect.Type, path: str, meta: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise self._wrong("wrong_type", path, f"must be a plain value, not {_said(node)}", meta)
        try:
            value = plain(node)
        except ValueError as error:
            raise self._wrong("wrong_type", path, str(error)) from None
        match kind:
            case inspect.StrType():
                if not isinstance(value, str):
                    raise self._wrong("wrong_type", path, "must be a string", f"Put it in quotes: '{node.value[:64]}'")
                self._length(len(value), kind, path, "characters")
            case inspect.EnumType():
                words = [str(member.value) for member in kind.cls]
                if value not in words:
                    raise self._wrong("wrong_type", path, f"must be {' or '.join(words)}", meant(str(value), words))
            case inspect.BoolType():
                if not isinstance(value, bool):
                    raise self._wrong("wrong_type", path, "must be true or false", meta)
            case inspect.IntType() | inspect.FloatType():
                self._number(value, kind, path, meta)
        return value

    def _number(self, value: Any, kind: inspect.IntType | inspect.FloatType, path: str, meta: str) -> None:
        whole = isinstance(kind, inspect.IntType)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            hint = "Write it without quotes" if isinstance(value, str) and value.strip()[:1].isdigit() else meta
            raise self._wrong("wrong_type", path, f"must be a {'whole ' if whole else ''}number", hint)
        if kind.ge is not None and value < kind.ge:
            raise self._wrong("out_of_bounds", path, f"is less than {kind.ge}, the least allowed", meta)
        if kind.le is not None and value > kind.le:
            raise self._wrong("out_of_bounds", path, f"is more than {kind.le}, the most allowed", meta)

    def _length(self, length: int, kind: Any, path: str, unit: str) -> None:
        if kind.max_length is not None and length > kind.max_length:
            raise self._wrong("budget", path, f"has {length} {unit}; at most {kind.max_length} are allowed")


def form(kind: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(kind)


def nodes_of(value: object) -> yaml.Node:
    """Nodes of a value that is no text any more: a manifest as the cluster keeps it."""
    represented: yaml.Node = _Represent(sort_keys=False).represent_data(value)
    return represented


class _Represent(yaml.representer.SafeRepresenter):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _bare(kind: inspect.Type) -> tuple[str, inspect.Type]:
    """What the form says of it, and the type without that."""
    said = ""
    while isinstance(kind, inspect.Metadata):
        said = said or str((kind.extra_json_schema or {}).get("description", ""))
        kind = kind.type
    return said, kind


def _said(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "an object"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a plain value"
