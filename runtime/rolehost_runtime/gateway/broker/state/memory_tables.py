"""The last good rows' fake: the same rules in this process's memory."""

from rolehost_runtime.gateway.ports import OUTLIVED_MS, Place


class MemoryLastGood:
    """Implements ports.LastGoodStore; several on one `kept` are several gateways on one Redis."""

    def __init__(self, kept: dict[str, tuple[Place, bytes]] | None = None) -> None:
        self.kept = {} if kept is None else kept

    async def places(self) -> dict[str, Place]:
        return {kind: place for kind, (place, _) in self.kept.items()}

    async def keep(self, kind: str, place: Place, body: bytes) -> bool:
        if kind in self.kept:
            there, _ = self.kept[kind]
            later = place.as_of_ms - there.as_of_ms
            same = (place.own, place.tenants) == (there.own, there.tenants)
            if (place.older_than(there) or (same and later < 0)) and later < OUTLIVED_MS:
                return False
        self.kept[kind] = (place, body)
        return True

    async def read(self, kind: str) -> tuple[Place, bytes] | None:
        return self.kept.get(kind)
