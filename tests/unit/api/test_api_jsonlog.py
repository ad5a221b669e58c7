"""Log lines say what went wrong and never what was said."""

import asyncio
import json
import logging

import pytest

from rolehost_api.jsonlog import JsonLines


async def test_an_exception_that_nobody_retrieved_is_named_and_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ValueError("what the user said")

    task = asyncio.create_task(fails())
    await asyncio.wait([task])
    del task  # its end is when asyncio tells
    (record,) = caplog.records
    assert "what the user said" in record.getMessage()
    line = JsonLines().format(record)
    assert "what the user said" not in line
    assert json.loads(line)["error"] == "ValueError"
    assert json.loads(line)["where"].startswith("test_api_jsonlog.py:")


def test_our_own_messages_are_whole() -> None:
    record = logging.LogRecord("rolehost", logging.INFO, "", 0, "a\nb %d", (1,), None)
    assert json.loads(JsonLines().format(record))["message"] == "a\nb 1"
