"""The rules of metadata that Kubernetes holds for every object, and of the names of ours."""

import re
from collections.abc import Iterator, Mapping

import yaml
from msgspec import Struct

from rolehost_api.crd.role import Role

FIELDS = (
    "name", "namespace", "labels", "annotations", "generateName", "finalizers", "ownerReferences", "uid",
    "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
    "managedFields", "selfLink",
)  # fmt: skip
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_WORD = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
MAX_SUBDOMAIN = 253
Fault = tuple[str, str, str]


def rules(fields: Mapping[str, yaml.Node], kind: type[Struct]) -> Iterator[Fault]:
    """(field, message, hint) of what Kubernetes would refuse."""
    yield from _name(fields.get("name"), kind)
    for field in ("labels", "annotations"):
        part = fields.get(field)
        for key, value in part.value if isinstance(part, yaml.MappingNode) else ():
            yield from _entry(field, key, value)


def _name(node: yaml.Node | None, kind: type[Struct]) -> Iterator[Fault]:
    name = node.value if isinstance(node, yaml.ScalarNode) else None
    if node is None:
        yield "name", "is missing", "Write a name such as storyteller"
    elif name is None or not (is_label(name) if kind is Role else is_subdomain(name)):
        allowed = "lower-case letters, digits and '-', at most 63"
        if kind is not Role:
            allowed = "lower-case letters, digits, '-' and '.', at most 253"
        hint = f"Use {allowed}" + ("; what people see goes into spec.displayName" if kind is Role else "")
        yield "name", "is not a name that Kubernetes takes", hint


def _entry(field: str, key: yaml.Node, value: yaml.Node) -> Iterator[Fault]:
    if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
        return  # another fault, told elsewhere
    if not is_qualified(key.value):
        yield f"{field}.{key.value[:64]}", "is no key that Kubernetes takes", "Write it like example.com/team or team"
    elif field == "labels" and not re.fullmatch(f"({_WORD})?", value.value):
        hint = "At most 63 letters, digits, '-', '_' and '.'; longer text goes into annotations"
        yield f"{field}.{key.value}", "is no value that a label may have", hint


def is_label(name: str) -> bool:
    """
    >>> is_label("a" * 63), is_label("a" * 64), is_label("a.b"), is_label("a-")
    (True, False, False, False)
    """
    return re.fullmatch(_LABEL, name) is not None


def is_subdomain(name: str) -> bool:
    """
    >>> is_subdomain("a.b"), is_subdomain("a..b"), is_subdomain("a" * 254)
    (True, False, False)
    """
    return len(name) <= MAX_SUBDOMAIN and re.fullmatch(_SUBDOMAIN, name) is not None


def is_qualified(key: str) -> bool:
    """
    >>> is_qualified("team"), is_qualified("example.com/team"), is_qualified("a/b/c"), is_qualified("the team")
    (True, True, False, False)
    """
    prefix, slash, word = key.rpartition("/")
    return re.fullmatch(_WORD, word) is not None and (not slash or is_subdomain(prefix))
