"""The composition root: the only module that knows every adapter.

    gateway = Gateway(Options(port=0), Adapters(tables=…, dialer=…, …))
    await gateway.start()      # gateway.port is the port that it got
    await gateway.stop()       # or: await gateway.run(), until SIGTERM or SIGINT

`in_cluster` puts the cluster's adapters together; `rolehost dev` brings its own.
"""

import asyncio
import contextlib
import logging
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rolehost_runtime.gateway.edge.auth import Authenticator
from rolehost_runtime.gateway.edge.hub import Hub
from rolehost_runtime.gateway.edge.internal import Reviewer, SmallServer, internal_app, metrics_app
from rolehost_runtime.gateway.edge.policy import Policy
from rolehost_runtime.gateway.edge.rest import Rooms, make_rest
from rolehost_runtime.gateway.edge.server import EdgeServer
from rolehost_runtime.gateway.edge.uploads import Uploads
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.ports import Bundles, Dialer, ModelProvider, SessionStore
from rolehost_runtime.gateway.sessions.service import SessionService
from rolehost_runtime.gateway.tables import Tables

log = logging.getLogger(__name__)


class Feed(Protocol):
    """Something that runs beside the gateway for as long as it lives, e.g. a watch."""

    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a gateway is told about itself."""

    name: str = "local"
    """The pod's name; the report to the operator carries it with a nonce of this start."""
    host: str = "127.0.0.1"
    port: int = 8080
    """0: any free port, see `Gateway.port`."""
    internal_port: int | None = None
    metrics_port: int | None = None
    allowed_origins: tuple[str, ...] = ()
    """Origins whose pages may connect, beside the gateway's own page; no Origin at all is no browser."""
    allowed_hosts: tuple[str, ...] = ()
    """Names in the Host header that are answered to; empty: all."""
    page: bool = False
    """Serve the playground at `/`."""
    max_connections: int = 20_000
    drain_seconds: float = 10.0
    """How long running turns may go on after the signal to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """What differs between the cluster and one machine. Whoever makes them closes them by `closing`."""

    tables: Tables
    dialer: Dialer
    bundles: Bundles
    store: SessionStore
    models: ModelProvider
    auth: Authenticator
    signing_key: Ed25519PrivateKey
    """Proves to pods (and to the upload service) that this is the platform."""
    store_answers: Callable[[], Awaitable[bool]]
    """For /readyz."""
    require_gvisor: bool = True
    uploads: Uploads | None = None
    """None: no upload and no check over HTTP (local mode)."""
    reviewer: Reviewer | None = None
    """None: nobody may ask for /internal/v1/observed."""
    feeds: Sequence[Feed] = ()
    closing: Sequence[Callable[[], Awaitable[None]]] = ()


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Gateway:
    """One process's worth of gateway, started and stopped from wherever a loop runs."""

    def __init__(self, options: Options, adapters: Adapters) -> None:
        raise NotImplementedError
