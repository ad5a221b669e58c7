"""One backend as this gateway deals with it: its breaker, its retries in hand, who is inside and who waits."""

import asyncio

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.errors import Overloaded
from rolehost_runtime.core.models.breaker import CircuitBreaker
from rolehost_runtime.core.models.retries import RetryBudget
from rolehost_runtime.core.models.turnstile import Turnstile


class Desk:
    """Whatever its declaration says is followed from the next call on, see `follow`."""

    def __init__(self, name: str, spec: BackendSpec) -> None:
        self.name, self.spec = name, spec
        self.breaker = CircuitBreaker(spec.breaker)
        self.retries = RetryBudget()
        self.turnstile = Turnstile(spec.concurrency)
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._number = 0

    def follow(self, spec: BackendSpec, now: float) -> None:
        if spec is self.spec:
            return
        self.spec = spec
        self.breaker.rule, self.turnstile.rule = spec.breaker, spec.concurrency
        self._admit(self.turnstile.admit(now))

    async def enter(self, tenant: str, until: float) -> None:
        """A place among those inside; who got one must `leave`. Raises Overloaded `model_busy`."""
        self._number += 1
        number = self._number
        is_in, refused = self.turnstile.enter(number, tenant, until)
        if refused is not None and refused != number:
            self._waiting.pop(refused).set_exception(busy())
        if is_in:
            return
        if refused == number:
            raise busy()
        await self._wait(number, until)

    def leave(self) -> None:
        self._admit(self.turnstile.leave(asyncio.get_running_loop().time()))

    async def _wait(self, number: int, until: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = turn
        try:
            async with asyncio.timeout_at(until):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()  # its turn had come just then
            self._waiting.pop(number, None)
            self.turnstile.give_up(number)
            if isinstance(error, TimeoutError):
                raise busy() from None
            raise

    def _admit(self, numbers: list[int]) -> None:
        for number in numbers:
            self._waiting.pop(number).set_result(None)


def busy() -> Overloaded:
    return Overloaded(
        "the model server has as many calls as it may, and others wait",
        hint="Send the message again in a moment",
        code="model_busy",
    )
