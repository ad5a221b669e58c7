"""docs/rollouts.md: its manifests do what it says, and every reason and event that the code has is on it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rolehost_api.crd.rollout import WARM_UP_SECONDS, WARM_UP_WAIT_SECONDS, WarmUp
from rolehost_operator.preview import courses
from rolehost_operator.rollout.holds import WARMING_UP
from rolehost_operator.rollout.table import TABLE, Stage
from rolehost_runtime.core.tooling import WARMING
from rolehost_runtime.core.warming import MAX_TOKENS, SESSION_ID
from rolehost_runtime.gateway.sessions.warming import LATE

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "rollouts.md").read_text()
MANIFESTS = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)]
ENGINE = "\n".join(
    path.read_text() for path in sorted((REPOSITORY / "operator/rolehost_operator/rollout").glob("*.py"))
)


def before(manifest: dict[str, Any]) -> dict[str, Any]:
    earlier = {"persona": {"system": "You told other stories."}}
    return {**manifest, "spec": {**manifest["spec"], "template": earlier}}


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (0, r"storyteller-\w+ begins as a canary beside storyteller-\w+: 5 %, 50 % of new sessions, then all"),
        (1, r"storyteller-\w+ begins as a canary beside storyteller-\w+: 5 %, 25 %, 50 % of new sessions, then all"),
        (2, r"storyteller-\w+ goes on as it is"),
        (3, r"storyteller-\w+ begins beside storyteller-\w+, once this is so: the gate evals has not passed"),
    ],
)
def test_a_manifest_does_what_the_page_says(number: int, says: str) -> None:
    (line,) = courses([MANIFESTS[number]], "acme", [before(MANIFESTS[number])])
    assert re.search(says, line), line


def test_every_manifest_is_told_of() -> None:
    assert len(MANIFESTS) == 4


def test_every_reason_of_a_hold_is_on_the_page() -> None:
    found = set(re.findall(r'Hold\(\s*"(\w+)"', ENGINE)) - {"Pinned", "Running"}
    assert len(found) > 12
    assert {one for one in found if f"`{one}`" not in PAGE} == set()


def test_the_bounds_of_a_warm_up_are_on_the_page() -> None:
    said = f"says that it is done after {WARM_UP_SECONDS} s, however it went; the first step waits for all\ngateways, {WARM_UP_WAIT_SECONDS} s at most"
    assert said in PAGE
    assert f"`{WARMING_UP}` |" in PAGE
    assert f'Left out: {WarmUp().turns}, "{WarmUp().message}"' in PAGE
    assert f"asked for {MAX_TOKENS}\ntokens" in PAGE
    assert all(f"`{word}`" in PAGE for word in (SESSION_ID, WARMING, LATE))


def test_every_event_is_on_the_page() -> None:
    found = set(re.findall(r'"((?:Rollout|Experiment)(?:[A-Z][a-z]+)+)"', ENGINE))
    assert len(found) == 11
    assert {one for one in found if f"`{one}`" not in PAGE} == set()


def test_every_stage_is_on_the_page_and_in_the_table() -> None:
    for stage in Stage:
        assert stage is Stage.IDLE or f"| `{stage.value}` |" in PAGE
        assert any(at is stage for at, _ in TABLE)
