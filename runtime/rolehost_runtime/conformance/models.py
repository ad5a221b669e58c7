"""What any ModelProvider must do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from rolehost_runtime.plugins.models import (
    BackendSpec,
    BackendType,
    ModelEnd,
    ModelMessage,
    ModelProvider,
    ModelRequest,
    RolehostError,
)

SAID = "讲一个故事 zanzibar"
PROMPT = (
    ModelMessage("system", "You are a cat.\n\nIt rains."),
    ModelMessage("user", "Hello"),
    ModelMessage("assistant", "Meow"),
    ModelMessage("user", SAID),
)


class ModelProviderConformance:
    """Override `make`; or `serving`, where more than the provider has to be set up. `broken` is a backend that fails."""

    pytestmark = pytest.mark.asyncio
    backend = BackendSpec(type=BackendType.PLUGIN, plugin="mine")
    """What `make`'s provider is asked with."""

    def make(self) -> ModelProvider:
        raise NotImplementedError("return your ModelProvider")

    def broken(self) -> BackendSpec | None:
        """A backend whose server is not there, e.g. one whose baseURL is a port where nobody listens."""
        return None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[ModelProvider, BackendSpec]]:
        made = self.make()
        try:
            yield made, self.backend
        finally:
            if (close := getattr(made, "close", None)) is not None:
                await close()

    def request(self, backend: BackendSpec) -> ModelRequest:
        model = backend.models[0].model if backend.models else ""
        return ModelRequest(model=model, messages=PROMPT, params={}, max_tokens=256, tenant_uid="uid", backend="mine")

    async def test_text_comes_in_pieces_and_then_one_end(self) -> None:
        async with self.serving() as (provider, backend):
            *pieces, end = await heard(provider, backend, self.request(backend))
        assert pieces, "an answer has text"
        assert all(type(piece) is str for piece in pieces), "text, and ModelEnd once, at the end"
        assert "".join(map(str, pieces)).strip()
        assert isinstance(end, ModelEnd)

    async def test_the_end_says_why_and_what_it_took(self) -> None:
        async with self.serving() as (provider, backend):
            *_, end = await heard(provider, backend, self.request(backend))
        assert isinstance(end, ModelEnd)
        assert end.finish_reason
        assert end.usage.input_tokens > 0, "counted, or estimated and said to be"
        assert end.usage.output_tokens > 0
        assert end.usage.cached_tokens <= end.usage.input_tokens

    async def test_a_call_may_be_given_up_at_any_time(self) -> None:
        async with self.serving() as (provider, backend):
            request = self.request(backend)
            async with aclosing(_opened(provider, backend, request)) as answer:
                assert await anext(answer)
            assert isinstance((await heard(provider, backend, request))[-1], ModelEnd), "and the next one is answered"

    async def test_a_call_that_is_cancelled_ends(self) -> None:
        async with self.serving() as (provider, backend):
            request = self.request(backend)
            task = asyncio.create_task(heard(provider, backend, request))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=5)
            assert task.done(), "a cancelled call does not go on"
            assert isinstance((await heard(provider, backend, request))[-1], ModelEnd)

    async def test_calls_at_the_same_time_are_each_answered(self) -> None:
        async with self.serving() as (provider, backend):
            request = self.request(backend)
            answers = await asyncio.gather(*(heard(provider, backend, request) for _ in range(8)))
        assert all(isinstance(one[-1], ModelEnd) and len(one) > 1 for one in answers)

    async def test_a_request_is_only_read(self) -> None:
        async with self.serving() as (provider, backend):
            request = self.request(backend)
            request.params["temperature"] = 0
            await heard(provider, backend, request)
        assert (request.messages, request.params) == (PROMPT, {"temperature": 0})

    async def test_a_failure_has_a_code_and_says_nothing_of_the_conversation(self) -> None:
        broken = self.broken()
        if broken is None:
            pytest.skip("no backend that fails: override `broken`")
        async with self.serving() as (provider, _):
            with pytest.raises(RolehostError) as raised:
                await heard(provider, broken, self.request(broken))
        assert raised.value.code
        assert raised.value.code != "internal"
        assert not any(part in str(raised.value) for part in SAID.split())


async def heard(provider: ModelProvider, backend: BackendSpec, request: ModelRequest) -> list[str | ModelEnd]:
    return [item async for item in provider.stream(backend, request)]


def _opened(provider: ModelProvider, backend: BackendSpec, request: ModelRequest) -> Any:
    """With `aclose`, which the protocol does not promise by its type."""
    return provider.stream(backend, request)
