"""Who answers, and what becomes of a call that fails: line, breaker, budget, retries and fallbacks around every call.

Only a call that has not said anything yet is tried again or given to another backend. Once text was heard, the
failure is the call's outcome: asking anew would say other words after words that were read already.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.errors import BadRequest, RolehostError, Unavailable
from rolehost_runtime.core.models.abilities import able
from rolehost_runtime.core.models.chain import Candidate, bounded, chain, params_for, share
from rolehost_runtime.core.models.retries import pause
from rolehost_runtime.gateway.broker.models.attempt import Attempt
from rolehost_runtime.gateway.broker.models.calls import in_words
from rolehost_runtime.gateway.broker.models.desk import Desk
from rolehost_runtime.gateway.broker.models.failures import broken_off
from rolehost_runtime.gateway.broker.models.metrics import ModelSink, NoModelSink
from rolehost_runtime.gateway.broker.models.purse import Purses
from rolehost_runtime.gateway.ports import ModelEnd, ModelProvider, ModelRequest
from rolehost_runtime.gateway.tables import Tables

FINAL = frozenset({"model_refused", "budget_exhausted", "state_unavailable"})
"""Failures that are no server's own: no other one is asked."""


class Desks:
    """What this gateway knows of each backend, for as long as it is declared."""

    def __init__(self, tables: Tables, sink: ModelSink) -> None:
        self._tables = tables
        self._desks: dict[str, Desk] = {}
        tables.backends.listen(self._changed)
        sink.follow(lambda: self._desks, lambda: asyncio.get_running_loop().time())

    def of(self, name: str, spec: BackendSpec) -> Desk:
        desk = self._desks.get(name)
        if desk is None:
            desk = self._desks[name] = Desk(name, spec)
        desk.follow(spec, asyncio.get_running_loop().time())
        return desk

    def _changed(self, key: tuple[str, ...]) -> None:
        if self._tables.backends.get(*key) is None:
            self._desks.pop(key[0], None)


class Dispatcher:
    """Implements ports.ModelProvider over one that calls servers."""

    def __init__(
        self,
        provider: ModelProvider,
        tables: Tables,
        desks: Desks,
        purses: Purses | None = None,
        sink: ModelSink | None = None,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Without `purses` no budget is kept."""
        self._provider, self._declared, self._desks = provider, tables.backends, desks
        self._purses, self._sink = purses, sink or NoModelSink()
        self._jitter, self._sleep = jitter, sleep

    async def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        candidates = chain(request.backend, backend, request.model, self._declared)
        error: RolehostError | None = None
        for place, one in enumerate(candidates):
            if place:
                self._sink.fell_back(request.backend, one.backend)
            desk = self._desks.of(one.backend, one.spec)
            try:
                asked, shown = _asked(one, request, same_wire=one.spec.type is backend.type)
            except BadRequest as too_long:
                error = too_long
                continue
            desk.retries.called(one.spec.retries.budget_percent)
            tried = 0
            while True:
                now = asyncio.get_running_loop().time()
                due = share(request.deadline, now, len(candidates) - place)
                asked = replace(asked, deadline=due)
                attempt = Attempt(desk, one, asked, shown, self._provider, self._purses, self._sink)
                tried += 1
                try:
                    item = await attempt.begin()
                except RolehostError as failed:
                    if failed.code in FINAL:
                        raise
                    error = failed
                    wait = self._wait(desk, failed, tried, due)
                    if wait is None:
                        break
                    await self._sleep(wait)
                    continue
                try:
                    if isinstance(item, str):
                        attempt.heard(item)
                        yield item
                        async for item in attempt.items:
                            if isinstance(item, ModelEnd):
                                break
                            attempt.heard(item)
                            yield item
                    if not isinstance(item, ModelEnd):
                        raise broken_off()
                    attempt.ended(item)
                    yield replace(item, model=one.label, tools_left_out=bool(request.tools and not asked.tools))
                    return
                except RolehostError as failed:
                    attempt.failed(failed)
                    raise
                finally:
                    await attempt.close()
        raise error or Unavailable("no model server is left to ask", code="model_unavailable")

    def _wait(self, desk: Desk, failed: RolehostError, tried: int, due: float | None) -> float | None:
        """Seconds until this candidate is tried again; None: it is not."""
        wait = pause(desk.spec.retries, failed.code, tried, failed.retry_after_ms, self._jitter())
        if wait is None or (due is not None and asyncio.get_running_loop().time() + wait >= due):
            return None
        if not desk.retries.take():
            return None
        self._sink.retried(desk.name)
        return wait


def _asked(one: Candidate, request: ModelRequest, *, same_wire: bool) -> tuple[ModelRequest, int]:
    """What this candidate is asked, and how many tokens of prompt that is, about. Raises BadRequest `context_too_long`."""
    if request.tools and not able(one.spec, one.model).tools:
        request = replace(request, tools=(), messages=in_words(request.messages))
    contents = [message.content for message in request.messages]
    contents += (call.arguments for message in request.messages for call in message.calls)
    contents += (f"{tool.name}{tool.description}{tool.parameters.decode('utf-8', 'replace')}" for tool in request.tools)
    shown, most = bounded(one, contents, request.max_tokens)
    params = params_for(request.params, same_wire=same_wire)
    return replace(request, model=one.model, max_tokens=most, params=params), shown
