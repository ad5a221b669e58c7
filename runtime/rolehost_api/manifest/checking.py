"""Walk a manifest's nodes along the CRD types and say every fault in words."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

import msgspec
import yaml
from msgspec import Struct, inspect

from rolehost_api.crd.modelbackend import ModelBackend
from rolehost_api.crd.role import Role
from rolehost_api.errors import Finding
from rolehost_api.manifest import metadata
from rolehost_api.manifest.reading import is_null, line_of, plain
from rolehost_api.manifest.rules import LOCAL_RULES, RULES
from rolehost_api.names import API_VERSION, GROUP

KINDS: Mapping[tuple[str, str], type[Role] | type[ModelBackend]] = {
    (API_VERSION, "Role"): Role,
    (API_VERSION, "ModelBackend"): ModelBackend,
}
OURS = [kind for _, kind in KINDS]
MAX_FINDINGS = 100
Fields = dict[str, tuple[yaml.Node, yaml.Node]]


def check_documents(nodes: list[yaml.Node], *, local: bool) -> list[Finding]:
    """The findings of all documents, by line; at most 100 of them."""
    walk = _Walk(LOCAL_RULES if local else RULES)
    ours = sum([walk.document(node) for node in nodes])
    if not ours and not walk.findings:
        walk.findings.append(
            Finding("manifest", "holds no Role and no ModelBackend", f"Write apiVersion: {API_VERSION} and kind: Role")
        )
    return sorted(walk.findings, key=lambda finding: finding.line or 0)[:MAX_FINDINGS]


def is_role(node: yaml.Node) -> bool:
    """Whether a document says that it is a Role of ours."""
    said = {
        key.value: value.value
        for key, value in (node.value if isinstance(node, yaml.MappingNode) else ())
        if isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)
    }
    return KINDS.get((said.get("apiVersion", ""), said.get("kind", ""))) is Role


class _Walk:
    def __init__(self, rules: Mapping[type[Struct], Any]) -> None:
        self.findings: list[Finding] = []
        self._rules = rules

    def say(self, path: str, message: str, hint: str = "", line: int | None = None) -> None:
        self.findings.append(Finding(path, message, hint, line))

    # ── a document ──────────────────────────────────────────────────────────────────

    def document(self, node: yaml.Node) -> bool:
        """Check one document; False where it is of a kind that is none of our business."""
        if not isinstance(node, yaml.MappingNode):
            self.say("manifest", "is not an object", f"It starts with apiVersion: {API_VERSION}", line_of(node))
            return True
        fields = self._fields(node, "")
        version, kind = (self._word(fields, name) for name in ("apiVersion", "kind"))
        if (version, kind) in KINDS:
            self._object(KINDS[version, kind], node, fields)
            return True
        return self._foreign(version, kind, fields, line_of(node))

    def _word(self, fields: Fields, name: str) -> str:
        value = fields[name][1] if name in fields else None
        return str(value.value) if isinstance(value, yaml.ScalarNode) else ""

    def _foreign(self, version: str, kind: str, fields: Fields, line: int) -> bool:
        at = {name: line_of(fields[name][0]) if name in fields else line for name in ("apiVersion", "kind")}
        if not version or not kind:
            for name, value in (("apiVersion", version), ("kind", kind)):
                if not value:
                    self.say(
                        name, "is missing", f"Write {name}: {API_VERSION if name == 'apiVersion' else 'Role'}", at[name]
                    )
            return True
        if version == API_VERSION:
            self.say("kind", f"{kind!r} is not known in {GROUP}", _meant(kind, OURS), at["kind"])
            return True
        if version.partition("/")[0] == GROUP or (kind in OURS and _similar(version)):
            self.say("apiVersion", f"{version!r} is not served", f"Write {API_VERSION}", at["apiVersion"])
            return True
        return False

    def _object(self, kind: type[Role] | type[ModelBackend], node: yaml.Node, fields: Fields) -> None:
        known = ("apiVersion", "kind", "metadata", "spec", "status")
        for name, (key, _) in fields.items():
            if name not in known:
                self._unknown(name, "", known, line_of(key), kind)
        if "metadata" in fields:
            self._metadata(fields["metadata"][1], kind)
        else:
            self.say("metadata", "is missing", "Write metadata: {name: …}", line_of(node))
        if "spec" not in fields or is_null(fields["spec"][1]):
            self.say("spec", "is missing", "The smallest Role has spec.template.persona.system", line_of(node))
            return
        self._value(fields["spec"][1], _spec_type(kind), "spec", line_of(fields["spec"][0]), kind)

    def _metadata(self, node: yaml.Node, kind: type[Struct]) -> None:
        fields = self._fields(node, "metadata") if isinstance(node, yaml.MappingNode) else None
        if fields is None:
            self.say("metadata", "must be an object", "Write metadata: {name: …}", line_of(node))
            return
        for name, (key, value) in fields.items():
            if name not in metadata.FIELDS:
                self.say(f"metadata.{name}", "is not known", _meant(name, metadata.FIELDS), line_of(key))
            elif name in ("labels", "annotations") and not is_null(value):
                self._value(value, _STRING_MAP, f"metadata.{name}", line_of(key), None)
        for name, message, hint in metadata.rules({name: value for name, (_, value) in fields.items()}, kind):
            there = fields.get(name.partition(".")[0])
            self.say(f"metadata.{name}", message, hint, line_of(there[0] if there else node))

    # ── values along their types ────────────────────────────────────────────────────

    def _fields(self, node: yaml.MappingNode, path: str) -> Fields:
        fields: Fields = {}
        for key, value in node.value:
            at = _join(path, str(key.value) if isinstance(key, yaml.ScalarNode) else "?")
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                self.say(at, "is no field name", "Field names are plain words", line_of(key))
            elif key.value in fields:
                self.say(at, "is given twice", "Keep one of the two", line_of(key))
            else:
                fields[key.value] = (key, value)
        return fields

    def _value(self, node: yaml.Node, kind: inspect.Type, path: str, line: int, root: type[Struct] | None) -> None:
        key = _list_key(kind)
        kind = _bare(kind)
        if isinstance(kind, inspect.StructType):
            self._struct(node, kind, path, line, root)
        elif isinstance(kind, inspect.ListType | inspect.VarTupleType):
            self._list(node, kind, path, line, root)
            self._twice(node, key, path)
        elif isinstance(kind, inspect.DictType):
            self._map(node, kind, path, line, root)
        elif isinstance(kind, inspect.EnumType):
            self._enum(node, kind, path, line)
        elif isinstance(kind, inspect.AnyType):
            self._free(node, path, line)
        else:
            self._scalar(node, kind, path, line)

    def _struct(
        self, node: yaml.Node, kind: inspect.StructType, path: str, line: int, root: type[Struct] | None
    ) -> None:
        if not isinstance(node, yaml.MappingNode):
            self.say(
                path,
                f"must be an object, not {_said(node)}",
                f"Its fields: {', '.join(f.encode_name for f in kind.fields)}",
                line,
            )
            return
        types = {field.encode_name: field for field in kind.fields}
        fields = self._fields(node, path)
        for name, (key, value) in fields.items():
            at = _join(path, name)
            if name not in types:
                self._unknown(name, path, types, line_of(key), root)
            elif is_null(value):
                self.say(at, "is empty", "Give it a value, or leave the field out", line_of(key))
            else:
                self._value(value, types[name].type, at, line_of(key), root)
        for name, field in types.items():
            if field.required and name not in fields:
                self.say(_join(path, name), "is missing", _description(field.type), line)
        self._between(node, kind.cls, path, fields, line)

    def _between(self, node: yaml.Node, kind: type[Struct], path: str, fields: Fields, line: int) -> None:
        """Rules between fields. Their words are better than those of a bound or pattern at the same place;
        what a misspelt field leaves out is not said a second time."""
        try:
            part = plain(node)
        except ValueError:
            return
        misspelt = bool(fields.keys() - {field.encode_name for field in msgspec.structs.fields(kind)})
        for name, message, hint in self._rules.get(kind, _no_rules)(part):
            key, at = re.split(r"[.\[]", name)[0], _join(path, name)
            if key in fields or not misspelt:
                self.findings = [finding for finding in self.findings if finding.path != at]
                self.say(at, message, hint, line_of(fields[key][0]) if key in fields else line)

    def _list(
        self,
        node: yaml.Node,
        kind: inspect.ListType | inspect.VarTupleType,
        path: str,
        line: int,
        root: type[Struct] | None,
    ) -> None:
        if not isinstance(node, yaml.SequenceNode):
            self.say(
                path, f"must be a list, not {_said(node)}", "Write its items in [ ] or one a line after '- '", line
            )
            return
        self._length(len(node.value), kind, path, line, "item")
        for index, item in enumerate(node.value[: (kind.max_length or 1000) + 1]):
            self._value(item, kind.item_type, f"{path}[{index}]", line_of(item), root)

    def _twice(self, node: yaml.Node, key: str, path: str) -> None:
        """Items of a list that is merged by a key must differ in it."""
        seen: set[str] = set()
        for index, item in enumerate(node.value if key and isinstance(node, yaml.SequenceNode) else ()):
            for name, value in item.value if isinstance(item, yaml.MappingNode) else ():
                if name.value != key or not isinstance(value, yaml.ScalarNode):
                    continue
                if value.value in seen:
                    hint = f"Give every one its own {key}"
                    self.say(f"{path}[{index}].{key}", f"{value.value[:64]!r} is already taken", hint, line_of(name))
                seen.add(value.value)

    def _map(self, node: yaml.Node, kind: inspect.DictType, path: str, line: int, root: type[Struct] | None) -> None:
        if not isinstance(node, yaml.MappingNode):
            self.say(path, f"must be an object, not {_said(node)}", "", line)
            return
        self._length(len(node.value), kind, path, line, "entry")
        for name, (key, value) in self._fields(node, path).items():
            self._value(value, kind.value_type, _join(path, name), line_of(key), root)

    def _enum(self, node: yaml.Node, kind: inspect.EnumType, path: str, line: int) -> None:
        words = [str(member.value) for member in kind.cls]
        value = self._plain(node, path, line)
        if value is not _BAD and value not in words:
            hint = f"Write one of {', '.join(words)}"
            if isinstance(value, str):
                hint = _meant(value, words)
            elif isinstance(node, yaml.ScalarNode) and node.value in words:
                hint = f'Put it in quotes: "{node.value}"'
            self.say(path, f"must be {' or '.join(words)}, not {_said(node)}", hint, line)

    def _free(self, node: yaml.Node, path: str, line: int) -> None:
        if isinstance(node, yaml.MappingNode):
            for name, (key, value) in self._fields(node, path).items():
                self._free(value, _join(path, name), line_of(key))
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._free(item, f"{path}[{index}]", line_of(item))
        else:
            self._plain(node, path, line)

    def _scalar(self, node: yaml.Node, kind: inspect.Type, path: str, line: int) -> None:
        value = self._plain(node, path, line) if isinstance(node, yaml.ScalarNode) else node
        if value is _BAD:
            return
        if isinstance(kind, inspect.StrType):
            if not isinstance(value, str):
                quoted = f'Put it in quotes: "{node.value}"' if isinstance(node, yaml.ScalarNode) else ""
                self.say(path, f"must be a string, not {_said(node)}", quoted, line)
                return
            self._length(len(value), kind, path, line, "character")
            if kind.pattern and not _matches(kind.pattern, value):
                self.say(path, f"does not match {kind.pattern}", self._describe(path), line)
        elif isinstance(kind, inspect.IntType):
            if isinstance(value, bool) or not isinstance(value, int):
                hint = "Write it without quotes" if isinstance(value, str) and value.strip().isdigit() else ""
                self.say(path, f"must be a whole number, not {_said(node)}", hint, line)
            elif kind.ge is not None and value < kind.ge:
                self.say(
                    path, f"is {value}, which is less than the least allowed, {kind.ge}", self._describe(path), line
                )
            elif kind.le is not None and value > kind.le:
                self.say(
                    path, f"is {value}, which is more than the most allowed, {kind.le}", self._describe(path), line
                )
        elif isinstance(kind, inspect.BoolType) and not isinstance(value, bool):
            self.say(path, f"must be true or false, not {_said(node)}", "", line)

    def _plain(self, node: yaml.Node, path: str, line: int) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            return node
        try:
            return plain(node)
        except ValueError as error:
            self.say(path, str(error), "", line)
            return _BAD

    def _length(self, length: int, kind: Any, path: str, line: int, unit: str) -> None:
        plural = "entries" if unit == "entry" else f"{unit}s"
        if kind.min_length is not None and length < kind.min_length:
            self.say(
                path,
                f"needs at least {kind.min_length} {unit if kind.min_length == 1 else plural}",
                self._describe(path),
                line,
            )
        if kind.max_length is not None and length > kind.max_length:
            self.say(path, f"has {length} {plural}; at most {kind.max_length} are allowed", "", line)

    def _describe(self, path: str) -> str:
        """What the field is for, as its schema says it."""
        name = re.sub(r"\[\d+\]", "", path)
        return next((places[name] for places in (_descriptions(kind) for kind in KINDS.values()) if name in places), "")

    def _unknown(self, name: str, path: str, known: Iterable[str], line: int, root: type[Struct] | None) -> None:
        elsewhere = [place for place in _descriptions(root) if place.rpartition(".")[2] == name] if root else []
        hint = f"It belongs to {elsewhere[0].rpartition('.')[0]}" if elsewhere else _meant(name, known)
        self.say(_join(path, name), "is not a field", hint, line)


def _no_rules(_: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    return iter(())


_BAD = object()
_STRING_MAP = inspect.type_info(dict[str, str])


def _spec_type(kind: type[Struct]) -> inspect.Type:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return next(field.type for field in info.fields if field.name == "spec")


def _bare(kind: inspect.Type) -> inspect.Type:
    """Without metadata and without `| None`: null is handled where the field is."""
    while True:
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        elif isinstance(kind, inspect.UnionType):
            kind = next(member for member in kind.types if not isinstance(_bare(member), inspect.NoneType))
        else:
            return kind


def _list_key(kind: inspect.Type) -> str:
    """By which field the items of a list are told apart; empty where they may be the same."""
    return str((kind.extra or {}).get("list_map_key", "")) if isinstance(kind, inspect.Metadata) else ""


def _description(kind: inspect.Type) -> str:
    return (
        str((kind.extra_json_schema or {}).get("description", "")).rstrip(".")
        if isinstance(kind, inspect.Metadata)
        else ""
    )


@cache
def _descriptions(root: type[Struct]) -> dict[str, str]:
    """Path → what the schema says of it, for every field under spec."""
    found: dict[str, str] = {}

    def visit(kind: inspect.Type, path: str) -> None:
        kind = _bare(kind)
        if isinstance(kind, inspect.ListType | inspect.VarTupleType):
            kind = _bare(kind.item_type)
        if isinstance(kind, inspect.StructType):
            for field in kind.fields:
                at = f"{path}.{field.encode_name}"
                found[at] = _description(field.type) or _union_description(field.type)
                visit(field.type, at)

    visit(_spec_type(root), "spec")
    return found


def _union_description(kind: inspect.Type) -> str:
    members = kind.types if isinstance(kind, inspect.UnionType) else ()
    return next((text for text in map(_description, members) if text), "")


def _meant(name: str, known: Iterable[str]) -> str:
    """A did-you-mean, else what there is.

    >>> _meant("perzona", ["persona", "model"])
    'Did you mean `persona`?'
    >>> _meant("display_name", ["displayName"])
    'Did you mean `displayName`?'
    """
    words = list(known)
    folded = {word.lower().replace("_", ""): word for word in words}
    close = get_close_matches(name.lower().replace("_", "")[:256], folded, n=1, cutoff=0.6)
    return f"Did you mean `{folded[close[0]]}`?" if close else f"Known here: {', '.join(words)}"


def _similar(version: str) -> bool:
    return bool(get_close_matches(version[:256], [API_VERSION], cutoff=0.6))


def _said(node: yaml.Node) -> str:
    """What stands there, in words, without repeating long text."""
    if isinstance(node, yaml.MappingNode):
        return "an object"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    word = str(node.tag).rpartition(":")[2]
    name = {"str": "the string", "int": "the number", "float": "the number", "bool": "the boolean", "null": "empty"}
    text = str(node.value)
    return f"{name.get(word, 'the value')} {text if len(text) <= 40 else text[:40] + '…'}".strip()


def _matches(pattern: str, value: str) -> bool:
    """As the apiserver's RE2 would: `$` is the very end, `\\w` and `\\s` are ASCII, and `\\s` has no vertical tab."""
    pattern = re.sub(r"\$$", r"\\Z", pattern).replace(r"[^\s]", r"[^\t\n\f\r ]")
    return re.search(pattern, value, re.ASCII) is not None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name
