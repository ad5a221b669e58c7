"""The page of prompts: its Role is one that can be applied, and its tables are what the code says."""

import re
from pathlib import Path

from rolehost_api.crd.role import Role
from rolehost_api.manifest import load
from rolehost_api.persona.resolving import resolved
from rolehost_api.persona.templates import NAMES, template

PAGE = (Path(__file__).parents[3] / "docs" / "prompts.md").read_text()


def test_the_role_that_is_shown_is_accepted_and_says_what_both_say() -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (role,) = load(shown, "prompts.md")
    assert isinstance(role, Role)
    texts, findings = resolved(role.spec.template.persona)
    assert findings == []
    assert "The setting: A salt marsh" in texts.system
    assert "The tone is slow and eerie." in texts.system
    assert texts.system.rstrip().endswith("never says where he learnt to row.")


def test_every_template_is_in_the_table_with_what_it_asks_for() -> None:
    rows = dict(re.findall(r"^\| `(\w+_v\d+)` \|.*\| (.*?) \|$", PAGE, re.MULTILINE))
    asked = {
        name: ", ".join(f"`{one}`" for one, variable in template(name).variables.items() if variable.default is None)
        for name in NAMES
    }
    assert rows == asked
