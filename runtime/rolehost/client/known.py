"""The session's state as far as it is known here. Pure."""

from typing import Any

import msgspec

from rolehost.client.frames import Frame, number
from rolehost_api.link.messages import PatchOp
from rolehost_runtime.core.merge import applied, changes_of
from rolehost_runtime.core.patch import InvalidPatch, apply

_ops = tuple[PatchOp, ...]
USER = "user"
"""The scope of state that a person's sessions share."""


class Known:
    """A version that only grows, and the values where they could be followed from the start or were told whole."""

    def __init__(self) -> None:
        self.version = 0
        self.values: dict[str, Any] | None = None

    def joined(self, frame: Frame, *, whole: bool) -> None:
        """The session was entered. `whole`: everything that ever happened in it will be told."""
        self.version = 0 if whole else number(frame, "version") or 0
        self.values = {} if self.version == 0 else None

    def forget(self) -> None:
        """The history is another one from here on."""
        self.version, self.values = 0, {}

    def patched(self, frame: Frame) -> None:
        """`role.state.delta`. One that is not newer changes nothing; one that skips others makes the values unknown."""
        version = number(frame, "version")
        if version is None or version <= self.version:
            return
        follows, self.version = version == self.version + 1, version
        if self.values is None or not follows:
            self.values = None
            return
        try:
            self.values = apply(self.values, msgspec.convert(frame.get("patch"), _ops))
        except (InvalidPatch, msgspec.ValidationError):
            self.values = None

    def whole(self, frame: Frame) -> bool:
        """A snapshot, or the answer to a poll: taken if it is newer, or as new and the values were not known."""
        version, state = number(frame, "version"), frame.get("state")
        if version is None or not isinstance(state, dict):
            return False
        if version < self.version or (version == self.version and self.values is not None):
            return False
        self.version, self.values = version, state
        return True


class KnownShared(Known):
    """State that the person's other sessions change too: where they did, the whole of it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.values = {}

    def patched(self, frame: Frame) -> None:
        """`role.state.delta` with scope user, of the log or beside it."""
        version = number(frame, "version")
        if version is None or version < self.version or (version == self.version and self.values is not None):
            return
        follows, self.version, before = version == self.version + 1, version, self.values
        self.values = None
        try:
            patch = msgspec.convert(frame.get("patch"), _ops)
            if len(patch) == 1 and patch[0].op == "replace" and not patch[0].path:
                self.values = msgspec.convert(patch[0].value, dict[str, Any])
            elif follows and before is not None:
                self.values = applied(before, changes_of(patch))
        except (InvalidPatch, msgspec.ValidationError):
            return
