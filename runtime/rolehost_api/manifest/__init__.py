"""A manifest as a person wrote it: read, with all of its faults found at once.

`check` says what is wrong, where, and what to write instead; `load` gives the typed
objects or raises with the same findings. There is no second schema: fields, bounds and
patterns are read off the CRD types, and only the rules between fields are said again
(`rules`), because those are CEL for the apiserver.

`reading` turns text into bounded YAML nodes that know their lines, `checking` walks them
along the types.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import yaml

from rolehost_api.crd.modelbackend import ModelBackend
from rolehost_api.crd.role import Role
from rolehost_api.errors import Finding, InvalidManifest
from rolehost_api.manifest.checking import KINDS, MAX_FINDINGS, check_documents, is_role
from rolehost_api.manifest.queries import query_faults
from rolehost_api.manifest.reading import plain, read

__all__ = ["Compiler", "check", "load"]


class Compiler(NamedTuple):
    """Who looks into a part of a Role that is free-form to the schema. Whoever calls `check` brings it: the contract
    itself knows no language."""

    path: str
    compile: Callable[[yaml.Node, str], list[Finding]]
    """A document and the whole text → what is wrong in that part; all of it, the document's own rules included."""


def check(text: str | bytes, *, local: bool = False, compiler: Compiler | None = None) -> list[Finding]:
    """Every fault of a manifest, in the order of its lines; empty where it would be accepted.

    `local`: as it lies in a checkout, where `logic` may name only its entrypoint, which
    means the files beside the manifest. The cluster needs the digest that `rolehost
    deploy` or `rolehost push` fills in.

    With a `compiler` also what the apiserver takes as mere text: that part, and queries.
    """
    try:
        nodes = read(text)
    except InvalidManifest as error:
        return list(error.findings)
    findings = check_documents(nodes, local=local)
    if compiler is None:
        return findings
    words = text if isinstance(text, str) else text.decode()
    kept = [one for one in findings if not f"{one.path}.".startswith((f"{compiler.path}.", f"{compiler.path}["))]
    kept += [one for node in nodes if is_role(node) for one in (*compiler.compile(node, words), *query_faults(node))]
    return sorted(kept, key=lambda one: (one.line or 0, one.column or 0))[:MAX_FINDINGS]


def load(
    text: str | bytes, filename: str = "the manifest", *, local: bool = False, compiler: Compiler | None = None
) -> list[Role | ModelBackend | dict[str, Any]]:
    """The objects of a manifest; those of other kinds as plain values. Raises InvalidManifest."""
    findings = check(text, local=local, compiler=compiler)
    if findings:
        raise InvalidManifest(filename, findings)
    return [_typed(plain(node)) for node in read(text)]


def _typed(value: Any) -> Role | ModelBackend | dict[str, Any]:
    kind = KINDS.get((value.get("apiVersion"), value.get("kind")))
    if kind is None:
        return dict(value)
    return msgspec.convert({key: value[key] for key in value if key != "status"}, kind)
