"""The object store's fake: the same rules in this process's memory."""

from collections.abc import Sequence

from rolehost_api.errors import BadRequest, NotFound
from rolehost_runtime.gateway.ports import MAX_OBJECT_BYTES


class MemorySegments:
    """Implements ports.SegmentStore."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def put(self, name: str, body: bytes) -> None:
        if len(body) > MAX_OBJECT_BYTES:
            raise BadRequest("a segment is too large to be kept", code="segment_too_large")
        self.kept[name] = body

    async def get(self, name: str) -> bytes:
        try:
            return self.kept[name]
        except KeyError:
            raise NotFound("there is no such segment", code="segment_not_found") from None

    async def list(self, folder: str, limit: int) -> Sequence[str]:
        return [name for name in sorted(self.kept) if name.startswith(folder)][:limit]

    async def delete(self, names: Sequence[str]) -> None:
        for name in names:
            self.kept.pop(name, None)
