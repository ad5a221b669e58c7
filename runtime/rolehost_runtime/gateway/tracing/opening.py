"""Telemetry as a gateway's settings ask for it: all of it, or nothing that costs anything."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from rolehost_api import __version__
from rolehost_runtime.gateway.tracing.sending import HttpPost, Sender, Sending, SpanSink
from rolehost_runtime.gateway.tracing.tracer import SLOW_SECONDS, Tracer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSettings:
    """As GatewaySettings has them."""

    endpoint: str = ""
    """Of a Collector. Empty: no traces."""
    name: str = "gateway"
    """The pod's."""
    namespace: str = ""
    ratio: float = 1.0
    slow_seconds: float = SLOW_SECONDS
    capture: bool = False
    trusts: bool = False
    sending: Sending = field(default_factory=Sending)


@dataclass(frozen=True, slots=True)
class Telemetry:
    tracer: Tracer | None = None
    feeds: Sequence[Sender] = ()
    _post: HttpPost | None = None

    @classmethod
    def of(cls, settings: TraceSettings, registry: CollectorRegistry) -> "Telemetry":
        """Its series are there whether anything is traced or not: what is missing cannot be alerted on."""
        sink = SpanSink(registry)
        if not settings.endpoint:
            return cls()
        if settings.capture:
            log.warning(
                "ROLEHOST_TRACE_CONTENT is on: traces carry what users and models say; whoever reads traces reads that"
            )
        post = HttpPost(settings.endpoint)
        resource = (
            ("service.name", "rolehost-gateway"),
            ("service.version", __version__),
            ("service.instance.id", settings.name),
            ("k8s.pod.name", settings.name),
            ("k8s.namespace.name", settings.namespace),
        )
        sender = Sender(post, resource, sink, settings.sending)
        tracer = Tracer(sender, settings.ratio, settings.slow_seconds, settings.capture, settings.trusts)
        return cls(tracer, (sender,), post)

    async def close(self) -> None:
        """What waits goes out, in bounded time."""
        for sender in self.feeds:
            await sender.flush()
        if self._post is not None:
            await self._post.close()
