"""`role_session` holds to the rules of a manifest's guards as a gateway does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rolehost.testing import RoleSession

PAGE = (Path(__file__).parents[3] / "docs" / "safety.md").read_text()
LOGIC = """\
from rolehost import Role, Turn

cat = Role("cat")

@cat.on_start
def start(t: Turn) -> None:
    t.log(f"started at {t.session.turn}")

@cat.on_message
async def answer(t: Turn) -> None:
    t.say("I say: stock ")
    await t.reply(t.ask())
    t.say(" damn")
"""
Open = Callable[..., RoleSession]


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    manifest = PAGE.split("```yaml\n")[1].split("```")[0]
    (tmp_path / "role.yaml").write_text(manifest)
    return tmp_path


def test_what_the_page_shows(cat: Path, role_session: Open) -> None:
    source = PAGE.split("```python\n")[1].split("```")[0].replace('"role.yaml"', repr(str(cat / "role.yaml")))
    names: dict[str, Callable[[Open], None]] = {}
    exec(source, names)
    names["test_nobody_is_sworn_at"](role_session)


def test_logic_hears_nothing_of_what_is_blocked_and_begins_with_what_is_not(cat: Path, role_session: Open) -> None:
    (cat / "logic.py").write_text(LOGIC)
    text = (cat / "role.yaml").read_text()
    (cat / "role.yaml").write_text(f"{text}    logic: {{entrypoint: 'logic:cat'}}\n")
    session = role_session(str(cat / "role.yaml"), model="market, damned cat 1")
    blocked = session.say("my number is 123-45-6789")
    blocked.expect.text("Let us talk about something else.").finished("content_filter").asked(0)
    assert blocked.logs == []
    reply = session.say("hello, damn it")
    assert reply.logs == ["started at 2"]
    assert "6789" not in reply.prompts[0]
    assert "hello, *** it" in reply.prompts[0]
    reply.expect.text("I say: stock market, *** cat 1 ***").finished("stop")
    assert [(one.stage, one.category) for one in reply.decisions] == [("input", "Profanity"), ("output", "Profanity")]
    session.model = "number 123-45-6789 it is"
    reply = session.say("hello")
    reply.expect.finished("content_filter").text("I say: stock number \n\nLet us talk about something else.")
