"""Whether logic can read the state that other logic wrote, and how that state begins anew where it cannot. Pure.

State goes forward freely: newer logic is given what older logic wrote, as ever. It goes back only where the older
logic says that it reads the newer one's (`state.readsSchemaVersions`); else the typed state begins anew. That is no
mark on the session but a part of the next turn's patch: what is removed is removed by the record that first shows it,
so a replay, a snapshot, another gateway and a client that folds deltas all come to the same state.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rolehost_api.crd.role import StateSpec
from rolehost_api.link.messages import MAX_PATCH_OPERATIONS, PatchOp
from rolehost_runtime.core.patch import MAX_STATE_BYTES, apply
from rolehost_runtime.core.shown import HIDDEN


def readable(written: int, spec: StateSpec) -> bool:
    """Whether logic that declares `spec` takes state that schema version `written` wrote.

    >>> [readable(written, StateSpec(schema_version=2)) for written in (1, 2, 3)]
    [True, True, False]
    >>> readable(3, StateSpec(schema_version=2, reads_schema_versions=[3]))
    True
    """
    return written <= spec.schema_version or written in spec.reads_schema_versions


def anew(state: Mapping[str, Any]) -> tuple[PatchOp, ...]:
    """What takes the typed state out of a session's; where it stands in its graph and what it has in mind stay.

    >>> [one.path for one in anew({"dragons": 1, "a/b": 2, "@behavior": {}, "@user": {}})]
    ['/dragons', '/a~1b', '/@user']
    """
    return tuple(
        PatchOp("remove", "/" + name.replace("~", "~0").replace("/", "~1")) for name in state if name not in HIDDEN
    )


def left_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state after `anew`.

    >>> left_of({"dragons": 1, "@behavior": {"main": {"node": "Explore"}}})
    {'@behavior': {'main': {'node': 'Explore'}}}
    """
    return {name: value for name, value in state.items() if name in HIDDEN}


def folded(state: dict[str, Any], patch: Sequence[PatchOp]) -> dict[str, Any]:
    """The state after a record's patch, which is a pod's own and, before it, what `anew` took out. Raises InvalidPatch."""
    for start in range(0, len(patch), MAX_PATCH_OPERATIONS):
        state = apply(state, patch[start : start + MAX_PATCH_OPERATIONS], max_bytes=MAX_STATE_BYTES)
    return state
