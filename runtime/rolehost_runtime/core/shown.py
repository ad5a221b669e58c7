"""What clients are shown of a session's state: all but what the platform keeps in it for itself.

Where the session stands in its graph is told by `role.behavior.transition`; what it has in mind, texts of its logic, by nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rolehost_api.link.messages import PatchOp
from rolehost_runtime.core.behavior.place import BEHAVIOR
from rolehost_runtime.core.memory.short import MIND

HIDDEN = (BEHAVIOR, MIND)
_PLACES = tuple(f"/{name}/" for name in HIDDEN)


def shown(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state as clients see it.

    >>> shown({"dragons": 1, "@behavior": {"main": {"node": "Explore"}}, "@short": []})
    {'dragons': 1}
    """
    return {name: value for name, value in state.items() if name not in HIDDEN}


def shown_patch(patch: Sequence[PatchOp]) -> tuple[PatchOp, ...]:
    """A patch as clients see it; one of hidden members alone leaves nothing but the version.

    >>> [one.path for one in shown_patch([PatchOp("add", path, 1) for path in ("/@short/0", "/@shorter", "/dragons")])]
    ['/@shorter', '/dragons']
    """
    return tuple(one for one in patch if not f"{one.path}/".startswith(_PLACES))
