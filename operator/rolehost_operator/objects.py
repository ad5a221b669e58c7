"""Kubernetes objects as plain values, and what it means that one is already as wanted."""

import hashlib
from typing import Any

import msgspec

from rolehost_api.names import GROUP

KubeObject = dict[str, Any]
APPLIED = f"{GROUP}/applied"
"""Annotation with the hash of what we applied: a field that we no longer want shows by it."""
RUNTIME = f"{GROUP}/runtime"
"""Annotation of a Deployment with the mark of the platform that its pods were made for. Outside of `APPLIED`'s hash."""

_encode = msgspec.json.Encoder(order="deterministic").encode


def marked(wanted: KubeObject) -> KubeObject:
    """`wanted` with the hash of itself in its annotations."""
    metadata = wanted["metadata"]
    digest = hashlib.sha256(_encode(wanted)).hexdigest()[:16]
    annotations = {**metadata.get("annotations", {}), APPLIED: digest}
    return {**wanted, "metadata": {**metadata, "annotations": annotations}}


def without_annotation(one: KubeObject, name: str = APPLIED) -> KubeObject:
    metadata = one["metadata"]
    kept = {key: value for key, value in metadata.get("annotations", {}).items() if key != name}
    return {**one, "metadata": {**metadata, "annotations": kept}}


def fits(wanted: Any, actual: Any) -> bool:
    """Whether `actual` holds all that is `wanted`; what the apiserver added does not matter.

    >>> fits({"a": [{"b": 1}]}, {"a": [{"b": 1, "default": 2}], "c": 3})
    True
    >>> fits({"a": [1]}, {"a": [1, 2]}), fits({"a": {}}, {}), fits({"a": 0}, {})
    (False, True, False)
    """
    if isinstance(wanted, dict):
        if not isinstance(actual, dict):
            return not wanted and actual is None
        for key, value in wanted.items():  # noqa: SIM110 a generator is a third slower, and this is asked of every object
            if not fits(value, actual.get(key)):
                return False
        return True
    if isinstance(wanted, list):
        if not isinstance(actual, list):
            return not wanted and actual is None
        return len(wanted) == len(actual) and all(map(fits, wanted, actual))
    return bool(wanted == actual)


def owned_by(owner: KubeObject) -> dict[str, Any]:
    """An owner reference: when the owner is deleted, so is the object that carries this."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }


def cpu(milli: int) -> str:
    """A quantity as the apiserver writes it, so that ours and its compare equal.

    >>> cpu(50), cpu(1000), cpu(1500), cpu(2000)
    ('50m', '1', '1500m', '2')
    """
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"


def mebibytes(count: int) -> str:
    """
    >>> mebibytes(512), mebibytes(1024), mebibytes(1536), mebibytes(65536)
    ('512Mi', '1Gi', '1536Mi', '64Gi')
    """
    return f"{count // 1024}Gi" if count % 1024 == 0 else f"{count}Mi"
