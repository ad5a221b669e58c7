"""`rolehost sessions` against a real port: the commands as they are typed, and those that the documentation shows."""

import asyncio
import json
import re
import shlex
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.house import playing
from tests.support.rooms import ACME, Ear, revision_entry, serve
from tests.support.talking import KEYS, USER_KEY, Talkers

from rolehost import Role, State, Turn
from rolehost.cli import checkout
from rolehost_api.crd.role import Persona, RoleTemplate
from rolehost_api.crd.safety import Category, GuardRule, GuardSpec, Safety
from rolehost_api.wire import Said
from rolehost_runtime.gateway.kept import Whose

PAGE = Path(__file__).parents[3] / "docs" / "sessions.md"
SECRET = "the password is swordfish"
STORY = """
from rolehost import Role, State, Turn

class Tale(State):
    told: int = 0

cat = Role("cat", state=Tale)

@cat.on_reply
def count(t: Turn[Tale]) -> None:
    t.state.told += 1
    print("this is not a verdict")
"""


class Tale(State):
    told: int = 0


def cat() -> Role[Tale]:
    role = Role("cat", state=Tale)

    @role.on_reply
    def count(t: Turn[Tale]) -> None:
        t.state.told += 1

    return role


@pytest.fixture
async def house() -> AsyncIterator[Talkers]:
    async with Talkers() as running:
        running.turns_are(playing(cat()))
        yield running


async def rolehost(house: Talkers, *arguments: str, key: str = KEYS[ACME]) -> tuple[int, str, str]:
    environment = {"ROLEHOST_URL": house.url, "ROLEHOST_KEY": key, "PYTHONPATH": ":".join(sys.path), "TZ": "UTC"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rolehost.cli", "sessions", *arguments, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, told = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, said.decode(), told.decode()


async def test_sessions_are_listed_and_shown_without_their_words(house: Talkers) -> None:
    await house.say("s-7", SECRET, "two")
    code, said, told = await rolehost(house, "ls", "cat")
    assert code == 0, told
    (_, row) = said.splitlines()
    assert row.split()[:4] == ["s-7", "-", "2", "4"]
    code, said, _ = await rolehost(house, "ls", "cat", "--json")
    assert json.loads(said)["session_id"] == "s-7"
    code, said, told = await rolehost(house, "show", "cat", "s-7")
    assert code == 0, told
    assert "version 2: told" in said
    assert "open turn    none" in said
    assert "swordfish" not in said
    _, said, _ = await rolehost(house, "show", "cat", "s-7", "--text")
    assert f"you › {SECRET}" in said
    assert f"it › You said {SECRET}." in said


async def test_what_guards_decided_is_shown_without_the_word_that_they_found(house: Talkers) -> None:
    rule = GuardRule(category=Category.SECRETS, words=("hunter2",))
    safety = Safety(guards=[GuardSpec(name="house", rules=[rule])])
    template = RoleTemplate(persona=Persona(system="You are a cat."), safety=safety)
    serve(house.tables, revision_entry(template=template))
    await house.say("s-8", "it is hunter2")
    _, said, _ = await rolehost(house, "show", "cat", "s-8", "--text")
    assert "(house: block in the input, Secrets)" in said
    _, said, _ = await rolehost(house, "export", "cat", "s-8")
    (turn,) = [json.loads(line) for line in said.splitlines() if '"kind": "turn"' in line]
    assert turn["decisions"] == [{"guard": "house", "stage": "input", "category": "Secrets", "action": "block"}]
    assert turn["status"] == "filtered"


async def test_a_replay_is_what_clients_saw(house: Talkers) -> None:
    ear = await house.say("s", "one", "two")
    code, said, told = await rolehost(house, "replay", "cat", "s")
    assert code == 0, told
    shown = [json.loads(line) for line in said.splitlines()]
    assert [event["seq"] for event in shown] == [event.seq for event in ear.heard if event.seq is not None]
    assert [event["type"] for event in shown][:2] == ["role.state.delta", "response.done"]
    _, said, _ = await rolehost(house, "replay", "cat", "s", "--until", "2")
    assert [json.loads(line)["seq"] for line in said.splitlines()] == [1, 2]


async def test_logic_is_checked_against_the_log_and_the_first_difference_is_named(
    house: Talkers, tmp_path: Path
) -> None:
    await house.say("s", "one", "two")
    story = tmp_path / "story.py"
    story.write_text(STORY)
    code, said, told = await rolehost(house, "replay", "cat", "s", "--check", "--logic", str(story))
    assert (code, said) == (0, "2 of 2 turns do again what they did\n"), told
    story.write_text(STORY.replace("+= 1", "+= t.session.turn"))
    code, said, told = await rolehost(house, "replay", "cat", "s", "--check", "--logic", f"{story}:cat")
    assert code == 1
    assert said.splitlines()[0] == "turn 2: another state"
    assert '"value":1' in said.splitlines()[1]
    assert '"value":2' in said.splitlines()[2]
    code, said, _ = await rolehost(house, "replay", "cat", "s", "--check", "--until", "2", "--logic", str(story))
    assert (code, said) == (0, "1 of 1 turns do again what they did\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("import nothing_like_it\n", "ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "exit code 3"),
        ("other = Role('other')\n", "has 2 Roles"),
    ],
)
async def test_code_that_does_not_load_is_said_in_a_sentence(
    house: Talkers, tmp_path: Path, change: str, told: str
) -> None:
    await house.say("s", "one")
    (tmp_path / "story.py").write_text(STORY + change)
    code, _, said = await rolehost(house, "replay", "cat", "s", "--check", "--logic", str(tmp_path / "story.py"))
    assert (code, told in said, "Traceback" in said) == (1, True, False), said


async def test_a_manifest_leads_to_the_code(house: Talkers, tmp_path: Path) -> None:
    await house.say("s", "one")
    (tmp_path / "story.py").write_text(STORY)
    manifest = tmp_path / checkout.MANIFEST
    head = "apiVersion: rolehost.io/v1alpha1\nkind: Role\nmetadata:\n  name: cat\nspec:\n  template:\n"
    manifest.write_text(head + "    persona:\n      system: A cat.\n    logic:\n      entrypoint: story:cat\n")
    code, said, told = await rolehost(house, "replay", "cat", "s", "--check", "--logic", str(tmp_path))
    assert (code, said) == (0, "1 of 1 turns do again what they did\n"), told
    indented = "".join(f"        {line}\n" for line in STORY.splitlines())
    manifest.write_text(head + f"    persona:\n      system: A cat.\n    logic:\n      inline: |\n{indented}")
    code, said, told = await rolehost(house, "replay", "cat", "s", "--check", "--logic", str(manifest))
    assert (code, said) == (0, "1 of 1 turns do again what they did\n"), told
    manifest.write_text(head + "    persona:\n      system: A cat.\n")
    code, said, told = await rolehost(house, "replay", "cat", "s", "--check", "--logic", str(manifest))
    assert (code, "another state" in said) == (1, True), "without its logic nothing counts"
    code, _, told = await rolehost(house, "replay", "dog", "s", "--check", "--logic", str(manifest))
    assert (code, "Traceback" in told) == (1, False)


async def test_a_fork_is_printed_and_can_be_gone_on_with(house: Talkers) -> None:
    await house.say("s", "one", "two")
    code, said, told = await rolehost(house, "fork", "cat", "s", "--at", "2")
    assert code == 0, told
    fresh = said.strip()
    assert f"rolehost chat cat --session {fresh}" in told
    ear = await house.say(fresh, "again")
    assert ear.heard[-1].message == "Before: one"  # type: ignore[union-attr]
    code, _, told = await rolehost(house, "fork", "cat", "s", "--at", "3")
    assert (code, "Fork at 2 or 4" in told, "Traceback" in told) == (1, True, False)


async def test_a_user_is_exported_and_forgotten(house: Talkers) -> None:
    role = house.tables.roles.get("acme", "cat")
    assert role is not None
    assert house.auth.tokens is not None
    principal = house.auth.principal(house.auth.tokens.mint(house.auth.principal(USER_KEY), "cat", "u-17", 60).token)
    for sid in ("a", "b"):
        handle = await house.service.attach(principal, role, sid, Ear())
        await handle.say(Said(message=SECRET))
    code, said, told = await rolehost(house, "export", "cat", "--user", "u-17", key=USER_KEY)
    assert code == 0, told
    lines = [json.loads(line) for line in said.splitlines()]
    assert ([line["kind"] for line in lines].count("turn"), lines[-1]["kind"]) == (2, "end")
    code, _, told = await rolehost(house, "forget", "cat", "--user", "u-17", key=USER_KEY)
    assert (code, "Aborted" in told) == (1, True), "nobody confirmed"
    code, said, told = await rolehost(house, "forget", "cat", "--user", "u-17", "--yes", key=USER_KEY)
    assert code == 0, told
    receipt = json.loads(said)
    assert (receipt["sessions"], receipt["deleted"]) == (2, {"records": 2})
    assert "swordfish" not in repr(house.store.shelf) + said
    assert await house.store.rows(ACME.uid, "cat", None, None, 9) == []


async def test_one_session_is_forgotten_and_what_is_missing_is_said(house: Talkers) -> None:
    await house.say("s", SECRET)
    code, said, told = await rolehost(house, "forget", "cat", "s", "--yes")
    assert (code, json.loads(said)["session_id"]) == (0, "s"), told
    assert (await house.store.head(Whose(ACME.uid, "cat").key("s"))).void  # type: ignore[union-attr]
    code, _, told = await rolehost(house, "show", "cat", "s")
    assert (code, "session_not_found" in told) == (1, True)
    for command in ("forget", "export"):
        code, _, told = await rolehost(house, command, "cat")
        assert (code, "--user" in told) == (2, True)


async def test_an_export_that_breaks_off_is_no_export(house: Talkers) -> None:
    await house.say("s", "one", "two", "three", "four", "five", "six")
    log = house.store.shelf.logs[Whose(ACME.uid, "cat").key("s")]
    log[4][b"crc32"] = b"00000000"
    code, said, told = await rolehost(house, "export", "cat", "s")
    assert code == 1
    assert json.loads(said.splitlines()[-1])["kind"] == "error"
    assert "not whole" in told
    assert "corrupt_record" in told


async def test_every_command_of_the_page_works(house: Talkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    commands = [shlex.split(line.partition(" > ")[0]) for block in blocks for line in block.splitlines()]
    assert len(commands) > 9
    (tmp_path / "story.py").write_text(STORY)
    monkeypatch.chdir(tmp_path)
    for user, sid in (("", "abc123"), ("u-17", "theirs")):
        body = {"message": "hi", "session_id": sid} | ({"user": user} if user else {})
        for _ in range(2):
            request = urllib.request.Request(
                f"{house.url}/role/cat", json.dumps(body).encode(), {"Authorization": f"Bearer {USER_KEY}"}
            )
            await asyncio.to_thread(urllib.request.urlopen, request, timeout=10)
    for command in commands:
        assert command[:2] == ["rolehost", "sessions"]
        code, said, told = await rolehost(house, *command[2:], key=USER_KEY)
        assert (code, bool(said)) == (0, True), (command, told)
    assert not house.store.shelf.logs.keys() - {Whose(ACME.uid, "cat").key(sid) for sid in await forks(house)}


async def forks(house: Talkers) -> list[str]:
    return [row.session_id for row in await house.store.rows(ACME.uid, "cat", None, None, 9)]
