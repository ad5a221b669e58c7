"""What docs/client.md shows runs, word for word but for the address, before a real server."""

import asyncio
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.dev import STORYTELLER, Dev, dev

PAGE = Path(__file__).parents[3] / "docs" / "client.md"
ELSEWHERE = "https://roles.example.com"
LIBRARY = Path(__file__).parents[3] / "runtime/rolehost_runtime/gateway/edge/page/rolehost.js"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("docs")
    with dev(
        str(STORYTELLER), str(STORYTELLER.parent / "cat"), "--port", "0", "--model", "scripted", folder=folder
    ) as found:
        yield found


async def run(source: str, *command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(source.encode()), 25)
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize("number", range(len(blocks("python"))))
async def test_python(running: Dev, number: int) -> None:
    source = blocks("python")[number].replace(ELSEWHERE, f"http://127.0.0.1:{running.port}").replace("rh_…", "rh_1")
    told = await run(source, sys.executable, "-X", "utf8", "-")
    assert ("You said" in told, "cat" in told or "long story" in told) == (True, True)
    assert ("role_not_found" in told) == ("nobody" in source)


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node on this machine")
@pytest.mark.parametrize("number", range(len(blocks("js"))))
async def test_javascript(running: Dev, number: int) -> None:
    source = blocks("js")[number].replace(f"{ELSEWHERE}/rolehost.js", LIBRARY.as_uri()).replace("rh_…", "rh_1")
    told = await run(
        source.replace(ELSEWHERE, f"http://127.0.0.1:{running.port}"), "node", "--experimental-websocket", "--input-type=module"
    )  # fmt: skip
    assert "what did it dream of" in told
    assert ("role_not_found" in told) == ("nobody" in source)


def test_there_are_snippets() -> None:
    assert (len(blocks("python")), len(blocks("js"))) == (3, 2)
