"""What one tenant's calls have in flight is bounded, goes by turn, and is all given back."""

import asyncio
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from rolehost_runtime.gateway.edge.grpc.flights import Flights

MOST = 10
STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "end", "cancel"]), st.sampled_from("ab"), st.integers(1, 15)), max_size=40
)


@given(STEPS)
def test_the_bound_holds_and_everybody_has_a_turn(steps: list[tuple[str, str, int]]) -> None:
    async def run() -> None:
        flights = Flights(MOST)
        tasks: list[tuple[str, int, asyncio.Task[None]]] = []
        flying: list[tuple[str, int]] = []
        began: dict[str, list[int]] = {"a": [], "b": []}

        async def fly(tenant: str, size: int, number: int) -> None:
            await flights.begin(tenant, size)
            flying.append((tenant, size))
            began[tenant].append(number)

        async def settle() -> None:
            for _ in range(4):
                await asyncio.sleep(0)
            for tenant in "ab":
                sizes = [size for name, size in flying if name == tenant]
                assert flights.bytes_of(tenant) == sum(sizes)
                assert sum(sizes) <= MOST or len(sizes) == 1
                assert began[tenant] == sorted(began[tenant])

        for number, (what, tenant, size) in enumerate(steps):
            if what == "begin":
                tasks.append((tenant, size, asyncio.ensure_future(fly(tenant, size, number))))
            elif what == "end" and flying:
                flights.end(*flying.pop(size % len(flying)))
            elif what == "cancel" and tasks:
                tasks[size % len(tasks)][2].cancel()
            if size % 2:
                await settle()
        await settle()
        while flying:
            flights.end(*flying.pop())
            await settle()
        for _, _, task in tasks:
            assert task.done()
            with suppress(asyncio.CancelledError):
                await task
        assert (flights.bytes_of("a"), flights.bytes_of("b"), flights._waiting) == (0, 0, {})

    asyncio.run(run())
