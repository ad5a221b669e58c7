"""A tenant's project has pytest and the package, and no plugin for async tests."""

import subprocess
import sys
from pathlib import Path

import pytest

LOGIC = """
from rolehost import Role, Turn
cat = Role("cat")
@cat.on_message
async def answer(t: Turn) -> None:
    await t.reply("meow")
"""
TESTS = """
import pytest

@pytest.mark.parametrize("said", ["hi", "hello"])
async def test_good(role_session, said):
    (await role_session("cat.py").say(said)).expect.text("meow")

async def test_bad(role_session):
    (await role_session("cat.py").say("hi")).expect.text("woof")
"""


@pytest.mark.parametrize("without", ["no:asyncio", "no:nothing"], ids=["alone", "beside-pytest-asyncio"])
def test_async_tests_run_and_can_fail(tmp_path: Path, without: str) -> None:
    (tmp_path / "cat.py").write_text(LOGIC)
    (tmp_path / "test_cat.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", without, "-p", "no:cacheprovider", "-W", "ignore"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    assert "expected 'woof'" in done.stdout
