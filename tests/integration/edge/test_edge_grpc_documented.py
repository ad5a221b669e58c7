"""The example of docs/reference/grpc.md, run as it stands with the code that it says to generate."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_tools import protoc
from tests.support.rooms import ACME
from tests.support.rpc import PROTO
from tests.support.talking import KEYS, Talkers

PAGE = (PROTO.parent / "grpc.md").read_text()


@pytest.fixture
async def house() -> AsyncIterator[Talkers]:
    async with Talkers(grpc=True) as running:
        yield running


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    options = re.search(r"grpc_tools.protoc (.*) role_session.proto", PAGE)
    assert options is not None
    for option in options[1].split():
        assert option in ("-I.", "--python_out=.", "--grpc_python_out=.")
    out = [option.replace("=.", f"={tmp_path}") for option in options[1].split()[1:]]
    assert protoc.main(["protoc", f"-I{PROTO.parent}", *out, PROTO.name]) == 0
    monkeypatch.syspath_prepend(str(tmp_path))
    [source] = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    found: dict[str, Any] = {}
    exec(compile(source, "grpc.md", "exec"), found)
    yield found
    for name in ("role_session_pb2", "role_session_pb2_grpc"):
        sys.modules.pop(name)


async def test_the_example_talks(house: Talkers, example: dict[str, Any]) -> None:
    def ask(role: str, key: str) -> str:
        return "".join(example["ask"](f"127.0.0.1:{house.grpc.port}", key, role, "s", "hello"))

    assert await asyncio.to_thread(ask, "cat", KEYS[ACME]) == "You said hello."
    assert await asyncio.to_thread(ask, "cat", KEYS[ACME]) == "You said hello."
    assert len(next(iter(house.store.shelf.logs.values()))) == 2, "both turns are in one session"
    with pytest.raises(grpc.RpcError) as refused:
        await asyncio.to_thread(ask, "cat", "nonsense")
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_every_status_of_the_page_is_one() -> None:
    named = re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE)
    assert len(named) > 8
    assert set(named) <= {status.name for status in grpc.StatusCode}
