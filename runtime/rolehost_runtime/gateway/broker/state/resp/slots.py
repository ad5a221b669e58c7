"""A cluster's map: keys to slots, and slots to the nodes that have them."""

from binascii import crc_hqx
from collections.abc import Iterator
from typing import Any

from rolehost_runtime.gateway.broker.state.resp.address import Address

SLOTS = 16_384


def slot_of(key: bytes) -> int:
    """The slot of a key: of what stands between its first braces, where something does.

    >>> slot_of(b"123456789"), slot_of(b"rh:{123456789}:head"), slot_of(b"{}123456789") == slot_of(b"123456789")
    (12739, 12739, False)
    """
    opened = key.find(b"{")
    if opened >= 0:
        closed = key.find(b"}", opened + 1)
        if closed > opened + 1:
            key = key[opened + 1 : closed]
    return crc_hqx(key, 0) % SLOTS


def ranges(answer: Any, asked: Address) -> Iterator[tuple[int, int, Address]]:
    """First slot, last slot and primary of each range in an answer to CLUSTER SLOTS. Raises ValueError.

    A node that does not know its own name says nothing: then it is the host that was asked.

    >>> list(ranges([[0, 5, [b"", 7001, b"id"], [b"b", 7002, b"id"]]], Address("a", 7000)))
    [(0, 5, Address(host='a', port=7001, path=''))]
    """
    try:
        for first, last, (host, port, *_), *_replicas in answer:
            name = host.decode() if host else ""
            if not 0 <= first <= last < SLOTS:
                raise ValueError("a slot that cannot be")
            yield first, last, Address(asked.host if name in ("", "?") else name, int(port))
    except (AttributeError, TypeError, UnicodeDecodeError):
        raise ValueError("no map of a cluster") from None
