"""A Role's log as lines of JSON, with blank lines in between so that a vanished reader is noticed."""

import asyncio
from collections.abc import AsyncIterator, Callable

from rolehost_api import wire
from rolehost_api.errors import RolehostError
from rolehost_api.link.messages import LogLine
from rolehost_runtime.gateway.edge.bodies import error_json

BEAT_SECONDS = 5.0


async def follow_logs(lines: AsyncIterator[LogLine], check: Callable[[], object]) -> AsyncIterator[bytes]:
    """Takes the first line before it returns, so that a refusal is still an HTTP status. Raises RolehostError.

    `check` is asked before every line and beat, and raises where the reader may not read any more.
    """
    first = asyncio.ensure_future(anext(lines, None))
    done, _ = await asyncio.wait([first], timeout=0.5)
    error = first.exception() if done else None
    if error is not None:
        raise error
    return _rest(first, lines, check)


async def _rest(
    awaited: asyncio.Future[LogLine | None], lines: AsyncIterator[LogLine], check: Callable[[], object]
) -> AsyncIterator[bytes]:
    try:
        while True:
            done, _ = await asyncio.wait([awaited], timeout=BEAT_SECONDS)
            check()
            if not done:
                yield b"\n"
                continue
            line = awaited.result()
            if line is None:
                return
            yield wire.encode(line) + b"\n"
            awaited = asyncio.ensure_future(anext(lines, None))
    except RolehostError as error:
        yield error_json(wire.error_body(error)) + b"\n"
    finally:
        awaited.cancel()
        await asyncio.gather(awaited, return_exceptions=True)
        close = getattr(lines, "aclose", None)
        if close is not None:
            await close()
