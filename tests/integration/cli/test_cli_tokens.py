"""A token for an end user, by the command and by the code that the documentation shows."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.edge import NOW_MS
from tests.support.rooms import ACME
from tests.support.talking import KEYS, USER_KEY, Talkers

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "tokens.md"


@pytest.fixture
async def house() -> AsyncIterator[Talkers]:
    async with Talkers() as running:
        yield running


async def python(house: Talkers, *arguments: str, key: str = USER_KEY) -> tuple[int, str, str]:
    environment = {"ROLEHOST_URL": house.url, "ROLEHOST_KEY": key, "PYTHONPATH": ":".join(sys.path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, told = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, said.decode(), told.decode()


async def rolehost(house: Talkers, *arguments: str, key: str = USER_KEY) -> tuple[int, str, str]:
    return await python(house, "-m", "rolehost.cli", "tokens", "create", *arguments, key=key)


async def test_the_command_prints_a_token_and_says_until_when(house: Talkers) -> None:
    code, said, told = await rolehost(house, "--user", "u-17", "--role", "cat", "--ttl", "60")
    assert code == 0, told
    principal = house.auth.principal(said.strip())
    assert (principal.user, principal.role, principal.tenant.name) == ("u-17", "cat", "acme")
    assert "u-17 at cat, until 2024-10-27T03:34:20+00:00" in told
    code, said, told = await rolehost(house, "--user", "u-17", "--quiet")
    assert (code, said.strip() in told, house.auth.principal(said.strip()).role) == (0, False, "")


async def test_what_the_gateway_refuses_is_a_sentence(house: Talkers) -> None:
    code, said, told = await rolehost(house, "--user", "u-17", key=KEYS[ACME])
    assert (code, said) == (1, "")
    assert "act-as-user" in told
    assert "Traceback" not in told


async def test_the_code_in_the_documentation_works(house: Talkers) -> None:
    (source,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    code, said, told = await python(house, "-c", source + "\nprint(token_for('u-17'))")
    assert code == 0, told
    principal = house.auth.principal(said.strip())
    assert (principal.user, principal.role) == ("u-17", "cat")
    assert principal.until_ms == NOW_MS + 930_000
