"""F40: how soon a client hears the next word when the gateway that answered it is killed, and another one lives."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.support.killing import platform
from tests.support.proof import SOAK, keep
from tests.support.redis import running
from tests.support.surviving import LONG, hear, opened, warm

KILLS = 50 if SOAK else 3
PATIENCE_SECONDS = 20
"""Generous: what it took is kept, and told in the page of faults."""


@pytest.mark.timeout(60 + 10 * KILLS)
async def test_a_client_of_a_killed_gateway_hears_on_at_another(tmp_path: Path) -> None:
    took: list[float] = []
    clock = asyncio.get_running_loop().time
    with running() as redis:
        async with platform(redis, tmp_path, ("a", "b")) as on:
            for number in range(KILLS):
                await warm(on)
                socket = await opened(on.ports["a"], session_id=f"s{number}")
                await hear(socket, "session.resumed")
                await socket.send(json.dumps({"message": LONG}))
                await hear(socket, "response.output_text.delta")
                on.gateways["a"].kill()
                died = clock()
                async with asyncio.timeout(PATIENCE_SECONDS):
                    again = await opened(on.ports["b"], session_id=f"s{number}")
                    await hear(again, "response.output_text.delta")
                    took.append(clock() - died)
                    done = (await hear(again, "response.done"))[-1]
                assert (done["status"], done["seq"]) == ("completed", 2)
                await again.close()
    took.sort()
    keep("resume", {"kills": KILLS, "p50_ms": round(1000 * took[len(took) // 2]), "worst_ms": round(1000 * took[-1])})
