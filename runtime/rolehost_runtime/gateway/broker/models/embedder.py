"""Texts to vectors, many at a time: texts of one tenant that come within a moment travel together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from rolehost_api.crd.modelbackend import BackendSpec, BackendType
from rolehost_api.errors import BadRequest, Overloaded, RolehostError, Unavailable
from rolehost_runtime.core.models.batches import Batcher, halves
from rolehost_runtime.core.prompt import estimate
from rolehost_runtime.gateway.broker.models.dispatcher import Dispatcher
from rolehost_runtime.gateway.broker.models.embeddings import Embedded
from rolehost_runtime.gateway.broker.models.failures import garbage
from rolehost_runtime.gateway.broker.models.metrics import ModelSink
from rolehost_runtime.gateway.ports import ModelMessage, ModelRequest, Vector
from rolehost_runtime.gateway.tables import Tables, Tenant

MAX_EMBEDDED_CHARS = 32_768
MAX_TEXTS = 2048
"""In one call."""
MAX_WAITING = 8192
"""Texts of one tenant that wait for one model."""
REFUSED = "model_refused"


@dataclass(slots=True)
class _Call:
    """One `embed`: its vectors as they come, by place."""

    outcome: "asyncio.Future[None]"
    vectors: "list[Vector[float] | None]"
    left: int

    def has(self, place: int, vector: "Vector[float]") -> None:
        self.vectors[place] = vector
        self.left -= 1
        if not self.left and not self.outcome.done():
            self.outcome.set_result(None)

    def failed(self, error: RolehostError) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


@dataclass(slots=True)
class _Text:
    call: _Call
    place: int
    text: str


@dataclass(slots=True)
class _Line:
    """What waits and runs for one tenant and model."""

    tenant: Tenant
    backend: str
    model: str
    batcher: Batcher
    texts: dict[int, _Text] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None


class BatchingEmbedder:
    """Implements ports.Embedder."""

    def __init__(self, dispatcher: Dispatcher, tables: Tables, sink: ModelSink) -> None:
        self._dispatcher, self._backends, self._sink = dispatcher, tables.backends, sink
        self._lines: dict[tuple[str, str, str], _Line] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._number = 0

    async def embed(
        self, tenant: Tenant, backend: str, texts: Sequence[str], *, model: str = "", session: str = ""
    ) -> "list[Vector[float]]":
        if len(texts) > MAX_TEXTS or any(len(text) > MAX_EMBEDDED_CHARS for text in texts):
            raise BadRequest(
                f"over {MAX_TEXTS} texts at once, or one of over {MAX_EMBEDDED_CHARS} characters", code="text_too_large"
            )
        if not texts:
            return []
        spec = self._spec(backend)
        served = spec.served(model)
        if served is None:
            raise BadRequest("this ModelBackend does not serve that model", code="model_not_served")
        line = self._line(tenant, backend, served.model, spec)
        if len(line.batcher) + len(texts) > MAX_WAITING:
            raise Overloaded("too many texts wait to be embedded", code="model_busy")
        call = _Call(asyncio.get_running_loop().create_future(), [None] * len(texts), len(texts))
        numbers = self._add(line, call, texts, session)
        try:
            await call.outcome
        finally:
            for number in numbers:
                line.batcher.drop(number)
                line.texts.pop(number, None)
        return [vector for vector in call.vectors if vector is not None]

    async def close(self) -> None:
        for line in self._lines.values():
            if line.timer is not None:
                line.timer.cancel()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _spec(self, backend: str) -> BackendSpec:
        spec = self._backends.get(backend)
        if spec is None or spec.type is not BackendType.EMBEDDINGS:
            raise Unavailable(
                "there is no ModelBackend of type Embeddings with that name",
                hint="The platform's team declares it",
                code="backend_not_found",
            )
        return spec

    def _line(self, tenant: Tenant, backend: str, model: str, spec: BackendSpec) -> _Line:
        key = (tenant.uid, backend, model)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(tenant, backend, model, Batcher(spec.batching))
        line.batcher.rule = spec.batching
        return line

    def _add(self, line: _Line, call: _Call, texts: Sequence[str], session: str) -> range:
        now, first = asyncio.get_running_loop().time(), self._number
        for place, text in enumerate(texts):
            line.texts[self._number] = _Text(call, place, text)
            line.batcher.add(self._number, session, estimate(text), now)
            self._number += 1
        self._go(line)
        return range(first, self._number)

    def _go(self, line: _Line) -> None:
        """Send all batches that are ready, and come back when the next one is."""
        loop = asyncio.get_running_loop()
        if line.timer is not None:
            line.timer.cancel()
            line.timer = None
        while numbers := line.batcher.take(loop.time()):
            task = loop.create_task(self._run(line, numbers))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        due = line.batcher.due
        if due is not None:
            line.timer = loop.call_at(due, self._go, line)
        elif not line.texts:
            self._lines.pop((line.tenant.uid, line.backend, line.model), None)

    async def _run(self, line: _Line, numbers: list[int]) -> None:
        try:
            await self._send(line, numbers)
        finally:
            line.batcher.done(numbers)
            self._go(line)

    async def _send(self, line: _Line, numbers: list[int]) -> None:
        """One batch. Where the server refuses it, its halves one after the other, down to the text that is to blame."""
        texts = {number: line.texts[number] for number in numbers if number in line.texts}
        if not texts:
            return
        try:
            vectors = await self._ask(line, [one.text for one in texts.values()])
        except RolehostError as error:
            if error.code == REFUSED and len(texts) > 1:
                for half in halves(list(texts)):
                    await self._send(line, half)
                return
            for one in texts.values():
                one.call.failed(_told(error))
            return
        for one, vector in zip(texts.values(), vectors, strict=True):
            one.call.has(one.place, vector)

    async def _ask(self, line: _Line, texts: list[str]) -> "list[Vector[float]]":
        spec = self._spec(line.backend)
        request = ModelRequest(
            model=line.model,
            messages=[ModelMessage("user", text) for text in texts],
            params={},
            max_tokens=1,  # nothing is written
            tenant_uid=line.tenant.uid,
            backend=line.backend,
            tenant=line.tenant.name,
        )
        self._sink.batch(line.backend, len(texts))
        async for item in self._dispatcher.stream(spec, request):
            if isinstance(item, Embedded):
                return item.vectors
        raise garbage("embeddings")


def _told(error: RolehostError) -> RolehostError:
    """Each call's own error: one that is raised twice would carry the other's traceback."""
    if error.code == REFUSED:
        return BadRequest("the embedding server refused a text", code="embedding_refused")
    told = type(error)(error.message, hint=error.hint, code=error.code, retryable=error.retryable)
    told.retry_after_ms = error.retry_after_ms
    return told
