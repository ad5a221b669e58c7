"""Ports for servers that the tests start: none is given twice, and none is one that somebody else may be given.

Below what the system gives to whoever connects (32768 on), and what a Kubernetes node may give to services (30000 on): a
port of these can be taken between its being found free and its server's start.
"""

import contextlib
import random
import socket

HOST = "127.0.0.1"
FIRST, LAST = 12_000, 18_999
BUS = 10_000
"""From a node's port to the one that a Redis cluster uses beside it; those stay free, too."""

_given: set[int] = set()


def free_port() -> int:
    """One that nobody listens on, nor on its bus port."""
    while True:
        port = random.randint(FIRST, LAST)
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.create_server((HOST, port)), socket.create_server((HOST, port + BUS)):
            _given.add(port)
            return port


def free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]
