"""rolehost.js is the same client: the golden cases on its core, and its shell before a real server."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support.browser import Browser, chromium
from tests.support.client_cases import FOLDER, cases, expected
from tests.support.client_world import recorded
from tests.support.cutting import Relay
from tests.support.dev import STORYTELLER, dev
from tests.support.switch_world import bad_day

pytestmark = pytest.mark.timeout(120)
REPOSITORY = Path(__file__).parents[3]
LIBRARY = REPOSITORY / "runtime/rolehost_runtime/gateway/edge/page/rolehost.js"
RUNNER = REPOSITORY / "tests/support/client_cases.mjs"
NODE = shutil.which("node")


def node(*arguments: str, stdin: str = "") -> str:
    assert NODE is not None
    done = subprocess.run(
        [NODE, *arguments], input=stdin, capture_output=True, text=True, timeout=90, check=False, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def agrees(told: dict[str, Any]) -> None:
    wanted = {
        name: [{"out": expected(step), "is": step.get("is", {})} for step in case["steps"]]
        for name, case in cases().items()
    }
    assert sorted(told) == sorted(wanted)
    for name, steps in wanted.items():
        assert told[name] == steps, name


@pytest.mark.skipif(NODE is None, reason="no Node on this machine")
def test_the_golden_cases_in_node() -> None:
    agrees(json.loads(node(str(RUNNER), str(LIBRARY), str(FOLDER))))


@pytest.mark.skipif(NODE is None, reason="no Node on this machine")
def test_both_cores_do_the_same_on_bad_days(tmp_path: Path) -> None:
    """Whatever happens: not only what the golden cases thought of."""
    days = {f"day-{seed}": recorded(seed) for seed in range(40)}
    days |= {f"day-of-several-{seed}": bad_day(seed) for seed in range(40)}
    for name, case in days.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(case))
    told = json.loads(node(str(RUNNER), str(LIBRARY), str(tmp_path)))
    for name, case in days.items():
        for number, (step, did) in enumerate(zip(case["steps"], told[name], strict=True)):
            assert did == {"out": step["out"], "is": step["is"]}, f"{name}, step {number}: {step}"


class _Files(SimpleHTTPRequestHandler):
    extensions_map = {".js": "text/javascript", ".mjs": "text/javascript", ".html": "text/html", ".json": "application/json"}  # fmt: skip

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def files(tmp_path: Path) -> Iterator[str]:
    """The library, the runner and the cases on a port, as a browser may load them."""
    for file in (LIBRARY, RUNNER):
        shutil.copy(file, tmp_path / file.name)
    (tmp_path / "cases.json").write_text(json.dumps(cases()))
    (tmp_path / "index.html").write_text(
        """<!doctype html><meta charset="utf-8"><script type="module">
        import * as cores from "/rolehost.js";
        import { run } from "/client_cases.mjs";
        const cases = await (await fetch("/cases.json")).json();
        try { window.told = Object.fromEntries(Object.entries(cases).map(([name, given]) => [name, run(cores, given)])); }
        catch (error) { window.told = String(error.stack); }
        </script>"""
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine")
def test_the_golden_cases_in_a_browser(files: str, tmp_path: Path) -> None:
    browser = Browser(tmp_path / "profile", 400, 400)
    try:
        browser.open(files)
        browser.until("window.told !== undefined")
        agrees(json.loads(browser.read("JSON.stringify(window.told)")))
    finally:
        browser.close()


TALK = """
import { connect } from "%(library)s";
const session = connect("http://127.0.0.1:%(port)d", "storyteller", { sessionId: "from-node" });
const told = [];
const reading = (async () => { for await (const event of session.events()) told.push(event.type); })();
await session.opened;
const first = await session.say("hello");
let text = "", resets = 0, pieces = 0;
for await (const piece of session.say("%(words)s")) {
  if (piece.reset) { resets += 1; text = ""; }
  if (piece.offset !== Array.from(text).length) throw new Error("a hole or a double");
  text += piece.text;
  pieces += 1;
}
const same = await session.say("other words", { client_msg_id: "twice" });
const again = await session.say("other words", { client_msg_id: "twice" });
const brief = connect("http://127.0.0.1:%(port)d", "storyteller");
const ending = (async () => { for await (const event of brief.events()) if (event.type === "client.ended") throw event; })();
await brief.opened;
await new Promise((wake) => setTimeout(wake, 50));
brief.close();
await ending;
const wrong = await connect("http://127.0.0.1:%(port)d", "nobody").opened.catch((error) => error.code);
const long = (() => { try { session.say("x".repeat(40000)); } catch (error) { return error.code; } })();
session.close();
const late = await session.say("late").catch((error) => error.code);
await reading;
console.log(JSON.stringify({ first: first.text, usage: first.usage, text, resets, pieces, wrong, long, late, told,
  same: same.response_id === again.response_id, state: session.state }));
"""


@pytest.mark.skipif(NODE is None, reason="no Node on this machine")
def test_the_shell_in_node_through_a_network_that_fails(tmp_path: Path) -> None:
    words = "".join(f"{number} 猫🐱 " for number in range(120))
    with dev(str(STORYTELLER), "--port", "0", "--model", "scripted", folder=tmp_path) as running, Relay(running.port) as network:  # fmt: skip
        stop = threading.Event()

        def fail() -> None:
            while not stop.wait(0.7):
                network.cut()

        failing = threading.Thread(target=fail)
        failing.start()
        try:
            script = TALK % {"library": LIBRARY.as_uri(), "port": network.port, "words": words}
            # The flag is what Node 20 needs to have a WebSocket; later ones know it too.
            said = json.loads(node("--experimental-websocket", "--input-type=module", stdin=script))
        finally:
            stop.set()
            failing.join()
        assert network.cuts >= 3
    assert "hello" in said["first"]
    assert said["usage"]["output_tokens"] > 0
    assert words.strip() in said["text"]
    assert (said["resets"], said["pieces"] > 20) == (0, True)
    assert (said["wrong"], said["long"], said["late"]) == ("role_not_found", "message_too_large", "closed")
    assert said["same"] is True
    assert said["state"]["values"]["stories"] == 3
    assert said["told"].count("response.done") == 4, "three answers, and the one that was asked for again"
    assert said["told"].count("client.lost") >= 2
