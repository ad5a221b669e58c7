"""What the documentation shows works: its code runs, its manifests are valid, its links lead somewhere."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rolehost.testing import RoleSession
from rolehost_api.manifest import check
from rolehost_runtime.core.dsl.manifests import COMPILER

REPOSITORY = Path(__file__).parents[3]
PAGES = [
    *(
        REPOSITORY / name
        for name in (
            "README.md",
            "README.zh-CN.md",
            "ARCHITECTURE.md",
            "CONTRIBUTING.md",
            "CHANGELOG.md",
            "THREAT_MODEL.md",
        )
    ),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SIX_NOUNS_ONLY = REPOSITORY / "docs" / "quickstart.md"
NOT_FOR_TENANTS = ("bundle", "effect", "epoch", "bind")


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        for number, text in enumerate(found, 1):
            yield f"{page.name}-{number}", text


def cases(language: str, word: str) -> list[object]:
    return [pytest.param(text, id=name) for name, text in blocks(language) if word in text]


@pytest.mark.parametrize("source", cases("python", "on_message"))
def test_code_answers_and_counts_dragons(source: str, role_session: Callable[..., RoleSession], tmp_path: Path) -> None:
    file = tmp_path / "story.py"
    file.write_text(source)
    told = role_session(str(file)).say("讲一个关于龙的短故事, a dragon")
    told.expect.no_event("error")
    assert getattr(told.user_state or told.state, "dragons", None) == 1


@pytest.mark.parametrize("text", cases("yaml", "apiVersion: rolehost.io"))
def test_a_manifest_is_valid(text: str) -> None:
    assert check(text, compiler=COMPILER) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    local = [link.partition("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link]
    missing = [link for link in local if link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("word", NOT_FOR_TENANTS)
def test_tenants_read_six_nouns(word: str) -> None:
    assert not re.search(rf"\b{word}s?\b", SIX_NOUNS_ONLY.read_text(), re.IGNORECASE)


def test_both_readmes_say_the_same_works() -> None:
    """Row by row: what one calls working, the other does not call missing."""

    def rows(name: str, works: str) -> list[bool]:
        lines = [line for line in (REPOSITORY / name).read_text().splitlines() if line.startswith("| ")]
        return [line.rstrip(" |").split("| ")[-1] == works for line in lines[1:]]

    assert rows("README.md", "yes") == rows("README.zh-CN.md", "可用")


def test_every_threat_names_tests_that_are_there() -> None:
    rows = [line for line in (REPOSITORY / "THREAT_MODEL.md").read_text().splitlines() if line.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"`(test_\w+(?:\.py)?)`", row)}
    there: set[str] = set()
    for file in (REPOSITORY / "tests").rglob("test_*.py"):
        there |= {file.name, *re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)}
    assert len(named) > 40
    assert sorted(named - there) == []
