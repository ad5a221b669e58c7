"""One try of one call on one backend: its place in line, leave of the breaker, its reservation, and what came of them."""

import asyncio
from collections.abc import AsyncIterator

from rolehost_api.crd.modelbackend import Price
from rolehost_api.errors import RolehostError, Unavailable
from rolehost_api.wire import Usage
from rolehost_runtime.core.models.breaker import Pass
from rolehost_runtime.core.models.budget import UNKNOWN_ANSWER, Amount, amount
from rolehost_runtime.core.models.chain import Candidate
from rolehost_runtime.core.prompt import estimate
from rolehost_runtime.gateway.broker.models.desk import Desk
from rolehost_runtime.gateway.broker.models.metrics import ModelSink
from rolehost_runtime.gateway.broker.models.purse import Purses, Reservation
from rolehost_runtime.gateway.ports import ModelEnd, ModelProvider, ModelRequest

CANCELLED = "cancelled"
ANSWERED = frozenset({"ok", "model_refused"})
"""The server did its part: it may refuse what a Role's parameters ask for."""
NOT_ITS_FAULT = frozenset({CANCELLED, "budget_exhausted", "state_unavailable"})
"""Outcomes that say nothing of the server."""


class Attempt:
    """`begin`, then `items` until the end; `close` whatever happens after a begin that did not raise."""

    def __init__(
        self,
        desk: Desk,
        one: Candidate,
        request: ModelRequest,
        shown: int,
        provider: ModelProvider,
        purses: Purses | None,
        sink: ModelSink,
    ) -> None:
        self._desk, self._one, self._request, self._shown = desk, one, request, shown
        self._provider, self._purses, self._sink = provider, purses, sink
        self._items: AsyncIterator[str | ModelEnd] | None = None
        self._pass: Pass | None = None
        self._reserved: Reservation | None = None
        self._is_in = False
        self._written = 0
        self._outcome = ""

    async def begin(self) -> str | ModelEnd:
        """The first that the server says. Raises RolehostError; then it is closed already."""
        loop, desk, spec = asyncio.get_running_loop(), self._desk, self._one.spec
        try:
            until = loop.time() + spec.concurrency.queue_seconds
            deadline = self._request.deadline
            await desk.enter(self._request.tenant_uid, until if deadline is None else min(until, deadline))
            self._is_in = True
            self._pass = desk.breaker.enter(loop.time())
            if self._pass is None:
                raise left_alone(desk.breaker.retry_at(loop.time()) - loop.time())
            if self._purses is not None:
                request = self._request
                most = request.max_tokens or UNKNOWN_ANSWER
                need = amount(self._price, Usage(input_tokens=self._shown, output_tokens=most))
                self._reserved = await self._purses.reserve(request.tenant_uid, request.tenant, desk.name, spec, need)
            self._items = self._provider.stream(spec, self._request)
            return await anext(self._items)
        except BaseException as error:
            self.failed(error)
            await self.close()
            raise

    @property
    def items(self) -> AsyncIterator[str | ModelEnd]:
        """What comes after the first."""
        assert self._items is not None
        return self._items

    def failed(self, error: BaseException) -> None:
        if isinstance(error, RolehostError):
            self._outcome = error.code

    def heard(self, text: str) -> None:
        """What is not counted by the server, if the call is broken off, is counted here."""
        self._written += (len(text) + 3) // 4 if text.isascii() else estimate(text)

    def ended(self, end: ModelEnd) -> None:
        self._outcome = "ok"
        self._spent(end.usage)

    async def close(self) -> None:
        """Let go of all that it holds."""
        self._outcome = self._outcome or CANCELLED
        self._judge()
        self._sink.attempt(self._desk.name, self._outcome)
        if self._outcome == "budget_exhausted":
            self._sink.over_budget(self._request.tenant, self._desk.name)
        if self._outcome != "ok":
            self._settle_broken_off()
        try:
            closing = getattr(self._items, "aclose", None)
            if closing is not None:
                await closing()
        finally:
            if self._is_in:
                self._is_in = False
                self._desk.leave()

    @property
    def _price(self) -> Price:
        served = self._one.served
        return served.price if served is not None else Price()

    def _settle_broken_off(self) -> None:
        """A call that was broken off has cost what it showed and said, about; one that failed before that, nothing."""
        if self._items is not None and (self._written or self._outcome == CANCELLED):
            self._spent(Usage(input_tokens=self._shown, output_tokens=self._written, estimated=True))
        elif self._reserved is not None:
            self._reserved.settle(Amount())

    def _judge(self) -> None:
        """What it says of the server."""
        let, self._pass = self._pass, None
        if let is None:
            return
        breaker, now = self._desk.breaker, asyncio.get_running_loop().time()
        if self._outcome in ANSWERED:
            breaker.succeeded(let, now)
        elif self._outcome in NOT_ITS_FAULT or self._was_hurried(now):
            breaker.gave_up(let)
        else:
            breaker.failed(let, now)

    def _was_hurried(self, now: float) -> bool:
        """It was the client's deadline that passed, which says nothing of the server: nobody opens a circuit by that."""
        deadline = self._request.deadline
        return self._outcome == "model_timeout" and deadline is not None and now >= deadline

    def _spent(self, usage: Usage) -> None:
        spent = amount(self._price, usage)
        if self._reserved is not None:
            self._reserved.settle(spent)
        if spent.tokens:
            self._sink.spent(self._request.tenant, self._desk.name, usage, spent.micros)


def left_alone(seconds: float) -> Unavailable:
    error = Unavailable(
        "the model server kept failing and is left alone for a while",
        hint="Send the message again in a moment",
        code="model_circuit_open",
    )
    error.retry_after_ms = max(1, int(1000 * seconds))
    return error
