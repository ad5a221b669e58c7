"""A Role's log as a stream: refused before it starts, and ended where its reader may not read any more."""

import json
from collections.abc import AsyncIterator

import pytest

from rolehost_api.errors import Forbidden, Unauthorized
from rolehost_api.link.messages import LogLine
from rolehost_runtime.gateway.edge.follow import follow_logs


async def printed(*texts: str) -> AsyncIterator[LogLine]:
    for number, text in enumerate(texts, 1):
        yield LogLine(number=number, at_ms=0, stream="stdout", text=text)


async def off() -> AsyncIterator[LogLine]:
    raise Forbidden("this Role's logs are off", code="logs_off")
    yield


async def test_a_refusal_is_raised_before_anything_is_sent() -> None:
    with pytest.raises(Forbidden):
        await follow_logs(off(), lambda: None)


async def test_a_reader_whose_key_was_revoked_reads_no_further_line() -> None:
    revoked = False

    def check() -> None:
        if revoked:
            raise Unauthorized("the key is not known, or was revoked")

    stream = await follow_logs(printed("before", "after"), check)
    assert json.loads(await anext(stream))["text"] == "before"
    revoked = True
    assert json.loads(await anext(stream))["error"]["code"] == "unauthorized"
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
