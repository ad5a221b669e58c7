"""Write a digest into a manifest without touching anything else: comments, order and quotes stay."""

import yaml

from rolehost_api.errors import BadRequest
from rolehost_api.manifest.reading import is_null, read
from rolehost_api.names import API_VERSION


def with_digest(text: str, role: str, digest: str) -> str:
    """`text` with `spec.template.logic.bundle` of this Role set.

    >>> head = "apiVersion: rolehost.io/v1alpha1\\nkind: Role\\nmetadata: {name: cat}\\nspec:\\n  template:\\n"
    >>> with_digest(head + "    logic: {entrypoint: 'a:b'}", "cat", "sha256:00").splitlines()[-1]
    "    logic: {bundle: sha256:00, entrypoint: 'a:b'}"
    """
    logic = _logic(text, role)
    for key, value in logic.value:
        if key.value == "bundle":
            if is_null(value) and value.start_mark.index == value.end_mark.index:
                return _spliced(text, key.end_mark.index + 1, key.end_mark.index + 1, f" {digest}")
            return _spliced(text, value.start_mark.index, value.end_mark.index, digest)
    first = logic.value[0][0].start_mark
    joint = ", " if logic.flow_style else "\n" + " " * first.column
    return _spliced(text, first.index, first.index, f"bundle: {digest}{joint}")


def _spliced(text: str, start: int, end: int, piece: str) -> str:
    return text[:start] + piece + text[end:]


def _logic(text: str, role: str) -> yaml.MappingNode:
    for document in read(text):
        api, kind, name = (_at(document, *path) for path in (["apiVersion"], ["kind"], ["metadata", "name"]))
        values = tuple(node.value if isinstance(node, yaml.ScalarNode) else "" for node in (api, kind, name))
        logic = _at(document, "spec", "template", "logic")
        if values == (API_VERSION, "Role", role) and isinstance(logic, yaml.MappingNode) and logic.value:
            return logic
    raise BadRequest(f"the manifest has no Role {role} with logic", hint="Write spec.template.logic.entrypoint")


def _at(node: yaml.Node | None, *path: str) -> yaml.Node | None:
    for name in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        node = next((value for key, value in pairs if key.value == name), None)
    return node
