"""Objects kept packed: as dicts a Deployment takes some 30 KiB, packed its bytes. What is taken out is a copy."""

from collections.abc import Iterator, MutableMapping

import msgspec

from rolehost_operator.objects import KubeObject
from rolehost_operator.observed import Key

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(KubeObject).decode


class Stamp(msgspec.Struct, frozen=True, rename="camel"):
    """Which object it is, and which state of it."""

    uid: str = ""
    resource_version: str = ""
    generation: int = 0

    @property
    def version(self) -> int:
        """Versions of one object compare as numbers, by the API's own conventions since 1.35 and by etcd's before."""
        return int(self.resource_version) if self.resource_version.isdigit() else 0


class _Stamped(msgspec.Struct):
    metadata: Stamp


_unpack_stamp = msgspec.msgpack.Decoder(_Stamped).decode


def stamp_of(raw: KubeObject) -> Stamp:
    return msgspec.convert(raw, _Stamped).metadata


class Shelf(MutableMapping[Key, KubeObject]):
    """Of one kind, by namespace and name.

    >>> shelf = Shelf()
    >>> shelf["acme", "cat"] = {"metadata": {"name": "cat"}}
    >>> shelf["acme", "cat"]["metadata"]["name"] = "dog"
    >>> shelf["acme", "cat"], ("acme", "dog") in shelf, len(shelf)
    ({'metadata': {'name': 'cat'}}, False, 1)
    """

    def __init__(self) -> None:
        self._packed: dict[Key, bytes] = {}

    def __getitem__(self, place: Key) -> KubeObject:
        return _unpack(self._packed[place])

    def __setitem__(self, place: Key, raw: KubeObject) -> None:
        self._packed[place] = _pack(raw)

    def __delitem__(self, place: Key) -> None:
        del self._packed[place]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)

    def stamp(self, place: Key) -> Stamp:
        """Without unpacking the rest. Raises KeyError."""
        return _unpack_stamp(self._packed[place]).metadata

    def __contains__(self, place: object) -> bool:
        return place in self._packed
