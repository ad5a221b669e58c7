"""The page of hooks: what it shows runs, and what it names is there."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rolehost import LogicError, Role
from rolehost.role import EVENTS
from rolehost.testing import RoleSession

PAGE = (Path(__file__).parents[3] / "docs" / "hooks.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


async def test_the_test_on_the_page_holds(role_session: Callable[..., RoleSession], tmp_path: Path) -> None:
    (tmp_path / "friend.py").write_text(BLOCKS[0])
    names: dict[str, Callable[[Callable[..., RoleSession]], object]] = {}
    exec(compile(BLOCKS[1], "hooks.md", "exec"), names)

    def opened(source: str, **options: object) -> RoleSession:
        return role_session(str(tmp_path / source), **options)

    await names["test_silence"](opened)  # type: ignore[misc]


def test_every_hook_has_its_row() -> None:
    rows = " ".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    assert [event for event in EVENTS if f"`{event}" not in rows] == []


@pytest.mark.parametrize("hook", ["on_drain"])
def test_what_there_is_not_says_why(hook: str) -> None:
    assert f"There is no `{hook}`" in PAGE
    with pytest.raises(LogicError):
        getattr(Role("cat"), hook)(lambda t: None)
