"""A manifest as a person wrote it: read, with all of its faults found at once.

`check` says what is wrong, where, and what to write instead; `load` gives the typed
objects or raises with the same findings. There is no second schema: fields, bounds and
patterns are read off the CRD types, and only the rules between fields are said again
(`rules`), because those are CEL for the apiserver.

`reading` turns text into bounded YAML nodes that know their lines, `checking` walks them
along the types.
"""

from typing import Any

import msgspec

from rolehost_api.crd.modelbackend import ModelBackend
from rolehost_api.crd.role import Role
from rolehost_api.errors import Finding, InvalidManifest
from rolehost_api.manifest.checking import KINDS, check_documents
from rolehost_api.manifest.reading import plain, read

__all__ = ["check", "load"]


def check(text: str | bytes, *, local: bool = False) -> list[Finding]:
    """Every fault of a manifest, in the order of its lines; empty where it would be accepted.

    `local`: as it lies in a checkout, where `logic` may name only its entrypoint, which
    means the files beside the manifest. The cluster needs the digest that `rolehost
    deploy` or `rolehost push` fills in.
    """
    try:
        return check_documents(read(text), local=local)
    except InvalidManifest as error:
        return list(error.findings)


def load(
    text: str | bytes, filename: str = "the manifest", *, local: bool = False
) -> list[Role | ModelBackend | dict[str, Any]]:
    """The objects of a manifest; those of other kinds as plain values. Raises InvalidManifest."""
    findings = check(text, local=local)
    if findings:
        raise InvalidManifest(filename, findings)
    return [_typed(plain(node)) for node in read(text)]


def _typed(value: Any) -> Role | ModelBackend | dict[str, Any]:
    kind = KINDS.get((value.get("apiVersion"), value.get("kind")))
    if kind is None:
        return dict(value)
    return msgspec.convert({key: value[key] for key in value if key != "status"}, kind)
