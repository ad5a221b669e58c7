"""docs/plugins.md: its plugin passes its suite, and its tables leave nothing out."""

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from rolehost_runtime.plugins.kinds import IN_SANDBOX, KINDS

PAGE = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text()
PLUGIN, SUITE = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The page's suite over the page's plugin, as an instance."""
    module = types.ModuleType("acme_plugins")
    exec(PLUGIN, vars(module))
    monkeypatch.setitem(sys.modules, "acme_plugins", module)
    held: dict[str, Any] = {}
    exec(SUITE, held)
    return held["TestParrot"]()


async def test_the_plugin_passes_its_suite(shown: Any) -> None:
    tests = [name for name in dir(shown) if name.startswith("test_")]
    assert len(tests) > 5
    for name in tests:
        if name != "test_a_failure_has_a_code_and_says_nothing_of_the_conversation":  # it never fails
            await getattr(shown, name)()


def test_every_kind_is_in_the_table() -> None:
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if "rolehost." in line
    ]
    told = {row[0]: (row[1], row[2]) for row in rows if len(row) == 4}
    assert told == {kind.name: (kind.group, "sandbox" if kind in IN_SANDBOX else "gateway") for kind in KINDS}


def test_every_suite_that_is_named_is_there() -> None:
    named = re.findall(r"`(rolehost_runtime\.conformance\.\w+)\.(\w+)`", PAGE)
    assert len(named) == 5
    for module, name in named:
        __import__(module)
        assert hasattr(sys.modules[module], name)
