"""The playground in a real Chromium: talk, see, reload, reconnect, start afresh."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.browser import Browser, chromium
from tests.support.cutting import Relay
from tests.support.dev import STORYTELLER, Dev, dev

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(chromium() is None and not os.environ.get("CI"), reason="no Chromium on this machine"),
]
DRAGON = "讲一个关于龙的短故事"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("page")
    with dev(str(STORYTELLER), "--port", "0", "--model", "scripted", folder=folder) as found:
        yield found


@pytest.fixture
def page(running: Dev, tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path / "profile", 400, 800)
    try:
        browser.open(f"http://localhost:{running.port}/")
        connected(browser)
        yield browser
        assert browser.complaints == []
    finally:
        browser.close()


def connected(browser: Browser) -> None:
    browser.until("document.querySelector('#status').dataset.state === 'open'")


def say(browser: Browser, text: str) -> None:
    """Say it and wait until it was answered."""
    before = answers(browser)
    browser.read("document.querySelector('#message').focus()")
    browser.type(text)
    browser.until(f"document.querySelectorAll('.theirs:not(.open)').length > {len(before)}")
    browser.until("!document.querySelector('#say').hasAttribute('data-busy')")


def texts(browser: Browser, selector: str) -> list[str]:
    return list(browser.read(f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.textContent)"))


def answers(browser: Browser) -> list[str]:
    return texts(browser, ".theirs")


def test_a_story_streams_and_everything_underneath_is_shown(page: Browser) -> None:
    say(page, DRAGON)
    assert texts(page, ".mine") == [DRAGON]
    assert "龙" in answers(page)[-1]
    assert texts(page, "#session")[0].startswith("play-")
    assert texts(page, "#revision") == ["storyteller@r1"]
    assert texts(page, "#patch li") == ["stories += 1", "dragons += 1"]
    (row,) = page.read(
        "[...document.querySelectorAll('#timing tr')].map((row) => [...row.cells].map((c) => c.textContent))"
    )
    assert row[0] == "1"
    assert all(float(cell) >= 0 for cell in row[1:])
    page.until("document.querySelector('#logs').textContent.includes('dragon 1 of this session')")


def test_after_a_reload_the_same_session_goes_on(page: Browser) -> None:
    say(page, DRAGON)
    session = texts(page, "#session")
    told = answers(page)[-1]
    page.call("Page.reload")
    page.until(f"[...document.querySelectorAll('.theirs')].some((one) => one.textContent === {json.dumps(told)})")
    connected(page)
    assert texts(page, "#session") == session
    assert texts(page, ".mine") == [DRAGON]
    say(page, "and now?")
    assert DRAGON in answers(page)[-1]


def test_a_dropped_connection_is_taken_up_again_without_a_double(page: Browser) -> None:
    say(page, "first")
    page.click("#reconnect")
    page.until("document.querySelector('#status').dataset.state !== 'open'")
    connected(page)
    say(page, "second")
    assert texts(page, ".mine") == ["first", "second"]
    assert sum("You said" in answer for answer in answers(page)) == 2
    assert '"first"' in answers(page)[-1]


WATCH = """
window.seen = [];
new MutationObserver(() => {
  const rows = [...document.querySelectorAll('.theirs')];
  if (rows.length > %d) window.seen.push(rows.at(-1).textContent);
}).observe(document.querySelector('#turns'), { childList: true, subtree: true, characterData: true });
window.lost = 0;
new MutationObserver((changes) => {
  window.lost += changes.filter(({ target }) => target.dataset.state === 'lost').length > 0;
}).observe(document.querySelector('#status'), { attributeFilter: ['data-state'] });
"""


def test_a_socket_that_is_cut_in_mid_answer_leaves_neither_a_double_nor_a_hole(running: Dev, tmp_path: Path) -> None:
    words = "".join(f"{number} 猫🐱 " for number in range(200))
    with Relay(running.port) as network:
        browser = Browser(tmp_path / "cut", 400, 800)
        try:
            browser.open(f"http://localhost:{network.port}/")
            connected(browser)
            before = len(answers(browser))
            browser.read(WATCH % before)
            browser.read("document.querySelector('#message').focus()")
            browser.type(words)
            for times, shown in enumerate((40, 300, 700), 1):
                browser.until(f"(window.seen.at(-1) ?? '').length > {shown}")
                assert network.cut() > 0
                browser.until(f"window.lost === {times}")
                connected(browser)
            browser.until("!document.querySelector('#say').hasAttribute('data-busy')")
            seen = list(browser.read("window.seen"))
            told = answers(browser)[-1]
        finally:
            browser.close()
    assert words.strip() in told
    assert seen[-1] == told
    assert [one for one in seen if not told.startswith(one)] == []
    lengths = [len(one) for one in seen]
    assert lengths == sorted(lengths), "what was shown was taken back"
    assert len(lengths) > 50


COUNT = """
window.sockets = 0;
window.WebSocket = class extends WebSocket {
  constructor(...all) { super(...all); window.sockets += 1; }
};
"""


def choose(browser: Browser, role: str) -> None:
    browser.read(
        f"(() => {{ const pick = document.querySelector('#role'); pick.value = {json.dumps(role)};"
        " pick.dispatchEvent(new Event('change')); })()"
    )


def test_another_role_is_on_the_same_socket_and_each_conversation_goes_on(tmp_path: Path) -> None:
    words = "".join(f"{number} 猫🐱 " for number in range(150))
    roles = (str(STORYTELLER), str(STORYTELLER.parent / "cat"))
    with dev(*roles, "--port", "0", "--model", "scripted", folder=tmp_path) as both, Relay(both.port) as network:
        browser = Browser(tmp_path / "switch", 1000, 800)
        try:
            browser.call("Page.addScriptToEvaluateOnNewDocument", source=COUNT)
            browser.open(f"http://localhost:{network.port}/")
            browser.until("document.querySelector('#role').options.length === 2")
            choose(browser, "storyteller")
            connected(browser)
            told = len(texts(browser, ".mine"))
            browser.read("document.querySelector('#message').focus()")
            browser.type(words)
            browser.until("document.querySelector('.theirs.open')?.textContent.length > 20")
            choose(browser, "cat")
            connected(browser)
            assert texts(browser, ".mine") == []
            assert texts(browser, "#revision") == ["cat@r1"]
            say(browser, "hello")
            assert 'You said: "hello"' in answers(browser)[-1]
            if folder := os.environ.get("ROLEHOST_PICTURES"):
                browser.picture(Path(folder) / "page-another-role.png")
            choose(browser, "storyteller")
            browser.until("!document.querySelector('#say').hasAttribute('data-busy')")
            assert texts(browser, ".mine")[told:] == [words.strip()]
            assert words.strip() in answers(browser)[-1]
            assert texts(browser, "#revision") == ["storyteller@r1"]
            say(browser, "and?")
            choose(browser, "cat")
            assert texts(browser, ".mine") == ["hello"]
            say(browser, "still?")
            assert '"hello"' in answers(browser)[-1]
            browser.click("#fresh")
            browser.until("document.querySelectorAll('.mine').length === 0")
            connected(browser)
            say(browser, "anew")
            assert "hello" not in answers(browser)[-1]
            assert browser.read("window.sockets") == 1
            session = texts(browser, "#session")
            network.cut()
            browser.until("document.querySelector('#status').dataset.state === 'lost'")
            connected(browser)
            say(browser, "after a loss")
            assert '"anew"' in answers(browser)[-1]
            choose(browser, "storyteller")
            connected(browser)
            say(browser, "here too")
            assert '"and?"' in answers(browser)[-1]
            assert browser.read("window.sockets") == 2
            browser.call("Page.reload")
            browser.until("document.querySelector('#role').options.length === 2")
            choose(browser, "cat")
            browser.until("document.querySelectorAll('.mine').length === 2")
            assert texts(browser, "#session") == session
            assert [text for text in browser.complaints if "Failed to load" not in text] == []
        finally:
            browser.close()


def test_a_new_session_knows_nothing(page: Browser) -> None:
    say(page, "first")
    session = texts(page, "#session")
    page.click("#fresh")
    page.until("document.querySelectorAll('.mine').length === 0")
    connected(page)
    assert texts(page, "#session") != session
    say(page, "second")
    assert '"first"' not in answers(page)[-1]


def test_what_a_model_or_a_user_writes_stays_text(page: Browser) -> None:
    say(page, "<img src=x onerror=alert(1)><b>bold</b>")
    assert page.read("document.querySelectorAll('#turns img, #turns b').length") == 0
    assert "<b>bold</b>" in answers(page)[-1]


HOSTILE = "<img src=x onerror=alert(1)>"
HOSTILE_MANIFEST = """
apiVersion: rolehost.io/v1alpha1
kind: Role
metadata: {{name: hostile}}
spec:
  displayName: "{hostile}"
  template:
    permissions: [model.call, memory.read, memory.write]
    memory: {{prompt: {{enabled: true}}}}
    persona: {{system: "You are {hostile} <script>alert(2)</script>"}}
    behavior:
      initial: Idle
      nodes: {{Idle: {{prompt: "{hostile} idle"}}, Bold b: {{}}}}
      edges:
      - {{from: Idle, to: Bold b, weight: 0.5, when: "message != '{hostile}x'"}}
      - {{from: Bold b, to: Idle}}
    logic:
      inline: |
        from rolehost import Role, State

        class Mind(State):
            notes: dict[str, str] = {{}}

        role = Role("hostile", state=Mind)

        @role.on_message
        async def hear(t):
            t.state.notes = {{"{hostile}": t.message}}
            t.memory.remember(t.message, asserted=True)
            t.memory.remember(t.message + " for sure")
            t.prompt.add("{hostile} is near")
            await t.reply(t.ask())

        @role.on_reply(required=True)
        async def check(t):
            assert t.message != "break"
"""


def test_the_panes_show_a_turn_from_underneath_whatever_is_written_in_it(tmp_path: Path) -> None:
    """In one browser: text stays text, memories are confirmed, edited and forgotten, a fork leaves the original alone."""
    (tmp_path / "hostile").mkdir()
    (tmp_path / "hostile" / "role.yaml").write_text(HOSTILE_MANIFEST.format(hostile=HOSTILE))
    with dev(str(tmp_path / "hostile"), "--port", "0", "--model", "scripted", folder=tmp_path) as running:
        browser = Browser(tmp_path / "panes", 390, 844, dark=True)
        try:
            browser.open(f"http://localhost:{running.port}/")
            connected(browser)
            browser.read("document.querySelector('[data-pane=prompt]').open = true")
            say(browser, f"{HOSTILE} one")
            say(browser, f"{HOSTILE} two")
            browser.until("document.querySelector('#looking').textContent === 'turn 2 of 2'")
            browser.until("document.querySelectorAll('#memories li').length === 4")
            assert (
                browser.read("document.querySelectorAll('#turns img, aside img, aside b > *, aside script').length")
                == 0
            )
            assert HOSTILE in texts(browser, "#state tbody th")[0]
            assert texts(browser, "#behavior p.now") == ["Bold b → Idle"]
            assert texts(browser, "#behavior .graph .now text") == ["Idle"]
            assert texts(browser, "#behavior .ways tbody td")[:2] == ["→ Idle", "taken (100 %)"]
            kinds = [kind.partition(" · ")[0] for kind in texts(browser, "#prompt .kind")]
            assert kinds[:2] == ["persona", "history"]
            assert kinds[-3:] == ["the logic and the graph", "what is remembered", "message"]
            assert any(f"{HOSTILE} is near" in said for said in texts(browser, "#prompt .said"))
            assert len(texts(browser, "#prompt .edge")) == 1
            # an older turn
            browser.click("#older")
            browser.until("document.querySelector('#looking').textContent === 'turn 1 of 2'")
            assert texts(browser, "#behavior p.now") == ["Idle → Bold b"]
            assert HOSTILE in texts(browser, "#behavior .ways code")[-1]
            browser.click("#newer")
            # memories
            browser.click("#memories .asserted .deeds button")
            browser.until("document.querySelectorAll('#memories .asserted').length === 1")
            browser.read(
                "[...document.querySelectorAll('#memories li button')].find((one) => one.textContent === 'Edit').click()"
            )
            browser.read("document.querySelector('#memories textarea').select()")
            browser.type(f"{HOSTILE} edited")
            browser.until(
                "[...document.querySelectorAll('#memories .text')].some((one) => one.textContent.endsWith('edited'))"
            )
            for _ in range(2):
                browser.read(
                    "[...document.querySelectorAll('#memories li button')].find((one) => one.textContent.startsWith('Forget')).click()"
                )
            browser.until("document.querySelectorAll('#memories li').length === 3")
            # a fork
            first = texts(browser, "#session")
            browser.click(".turns .deeds button:last-child")
            browser.until(f"document.querySelector('#session').textContent !== {json.dumps(first[0])}")
            connected(browser)
            browser.until("document.querySelectorAll('.turns .deeds').length === 1")
            assert texts(browser, ".mine") == [f"{HOSTILE} one"]
            browser.until("document.querySelector('#looking').textContent === 'turn 1 of 1'")
            say(browser, "another way")
            browser.until("document.querySelector('#looking').textContent === 'turn 2 of 2'")
            browser.click("#back")
            browser.until(f"document.querySelector('#session').textContent === {json.dumps(first[0])}")
            connected(browser)
            browser.until("document.querySelectorAll('.turns .deeds').length === 2")
            assert texts(browser, ".mine") == [f"{HOSTILE} one", f"{HOSTILE} two"]
            # a turn that fails is looked at all the same
            browser.read("document.querySelector('#message').focus()")
            browser.type("break")
            browser.until("document.querySelector('.turns .deeds .bad') !== null")
            browser.read("document.querySelector('.turns .deeds:has(.bad) button').click()")
            browser.until("document.querySelector('#looking').textContent === 'turn 3, not answered'")
            assert texts(browser, "#prompt .said")[-1].endswith("break")
            # by keyboard, and as wide as a phone
            browser.read("document.querySelector('[data-pane=state] summary').focus()")
            browser.type("")
            assert browser.read("document.querySelector('[data-pane=state]').open") is False
            browser.click("#beneath")
            assert browser.read("getComputedStyle(document.querySelector('#underneath')).display") == "none"
            assert browser.read("document.querySelector('#beneath').getAttribute('aria-expanded')") == "false"
            browser.click(".turns .deeds button")
            assert browser.read("document.activeElement.id") == "underneath"
            assert browser.read("document.documentElement.scrollWidth") <= 390
            unnamed = (
                "[...document.querySelectorAll('button, textarea, select, meter, svg[role=img]')].filter((one) => "
            )
            unnamed += "!one.textContent.trim() && !one.getAttribute('aria-label') && !one.labels?.length).length"
            assert browser.read(unnamed) == 0
            if folder := os.environ.get("ROLEHOST_PICTURES"):
                browser.picture(Path(folder) / "page-underneath.png")
            assert browser.complaints == []
        finally:
            browser.close()


def test_nothing_is_wider_than_a_phone(page: Browser) -> None:
    say(page, "x" * 300)
    assert page.read("document.documentElement.scrollWidth") <= 400
    if folder := os.environ.get("ROLEHOST_PICTURES"):
        page.picture(Path(folder) / "page-400.png")
