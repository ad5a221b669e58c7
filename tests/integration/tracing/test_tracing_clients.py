"""Who talks is told which trace a turn is, by every client of ours: to be named to whoever runs the platform."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.browser import Browser, chromium
from tests.support.otlp import endpoint
from tests.support.rooms import ACME, FakePod, ask_and_commit
from tests.support.tracing import KEY, traced

from rolehost.client import TurnFailed, connect
from rolehost_api.link import messages
from rolehost_runtime.gateway.app import Options
from rolehost_runtime.gateway.edge.auth import OpenAuth

pytestmark = pytest.mark.timeout(120)
PAGE = Path(__file__).parents[3] / "runtime/rolehost_runtime/gateway/edge/page"
NODE = shutil.which("node")
BREAK = "break"


async def breaks(pod: FakePod, channel: int, start: messages.StartTurn) -> None:
    """Logic that fails at one message."""
    if start.message == BREAK:
        pod.send(channel, messages.TurnFailed(code="logic_error", hook="hear"))
    else:
        await ask_and_commit(pod, channel, start)


async def test_a_reply_and_a_failure_in_python_name_their_traces() -> None:
    async with endpoint() as collector, traced(collector.url) as (gateway, dialer):
        dialer.pods["p1"].turn = breaks
        async with connect(f"http://127.0.0.1:{gateway.port}", "cat", key=KEY) as session:
            reply = await session.say("hello")
            with pytest.raises(TurnFailed) as failed:
                await session.say(BREAK)
        spans = await collector.until(6)
        roots = [span for span in collector.spans if span.name == "turn"]
        assert [(one.trace_id, one.error) for one in roots] == [
            (reply.trace_id, ""),
            (failed.value.trace_id, "logic_error"),
        ]
        assert spans


async def test_without_a_collector_there_is_none() -> None:
    async with traced("") as (gateway, _), connect(f"http://127.0.0.1:{gateway.port}", "cat", key=KEY) as session:
        assert (await session.say("hello")).trace_id == ""


SAY = """
import { connect } from "%(library)s";
const session = connect("http://127.0.0.1:%(port)d", "cat", { token: "%(key)s" });
const reply = await session.say("hello");
const failed = await session.say("%(message)s").catch((error) => error);
session.close();
console.log(JSON.stringify([reply.trace_id, failed.trace_id, failed.code]));
"""


@pytest.mark.skipif(NODE is None, reason="no Node on this machine")
async def test_a_reply_and_a_failure_in_javascript_name_their_traces() -> None:
    async with endpoint() as collector, traced(collector.url) as (gateway, dialer):
        dialer.pods["p1"].turn = breaks
        script = SAY % {"library": (PAGE / "rolehost.js").as_uri(), "port": gateway.port, "key": KEY, "message": BREAK}
        # The flag is what Node 20 needs to have a WebSocket; later ones know it too.
        process = await asyncio.create_subprocess_exec(
            str(NODE), "--experimental-websocket", "--input-type=module",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, wrong = await process.communicate(script.encode())
        assert process.returncode == 0, wrong.decode()
        replied, failed, code = json.loads(out)
        assert code == "logic_error"
        await collector.until(6)
        assert [one.trace_id for one in collector.spans if one.name == "turn"] == [replied, failed]


@pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine")
async def test_the_page_shows_it_beside_the_times_to_be_copied(tmp_path: Path) -> None:
    options = Options(port=0, metrics_port=0, page=True)
    async with (
        endpoint() as collector,
        traced(collector.url, options=options, auth=OpenAuth(ACME)) as (gateway, dialer),
    ):
        dialer.pods["p1"].turn = breaks
        shown = await asyncio.to_thread(talked, f"http://localhost:{gateway.port}/", tmp_path / "profile")
        await collector.until(6)
        replied, failed = [one.trace_id for one in collector.spans if one.name == "turn"]
        assert shown["before"] is True, "no column of what there is none of"
        assert shown["title"] == replied[:8]
        assert shown["copied"] == replied
        assert shown["failed"] == f"trace {failed[:8]}"
        assert shown["by hand"] == failed


CELL = "#timing tr td:last-child"


def talked(url: str, profile: Path) -> dict[str, Any]:
    """What the page shows of a turn that was answered and of one that was not."""
    browser = Browser(profile, 400, 800)
    try:
        origin = url.rstrip("/")
        permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
        browser.call("Browser.grantPermissions", origin=origin, permissions=permissions)
        browser.call("Emulation.setFocusEmulationEnabled", enabled=True)  # only who has the focus may copy
        browser.open(url)
        browser.until("document.querySelector('#status').dataset.state === 'open'")
        browser.read("document.querySelector('[data-pane=timing]').open = true")
        found = {"before": browser.read("document.querySelector('#traces').hidden")}
        browser.read("document.querySelector('#message').focus()")
        browser.type("hello")
        browser.until(f"document.querySelector('{CELL} button') !== null")
        assert browser.read("document.querySelector('#traces').hidden") is False
        found["title"] = browser.read(f"document.querySelector('{CELL} button').textContent")
        browser.click(f"{CELL} button")
        browser.until(f"document.querySelector('{CELL} button').textContent === 'Copied'")
        browser.read("navigator.clipboard.readText().then((text) => { window.copied = text; })")
        found["copied"] = browser.until("window.copied")
        browser.until("!document.querySelector('#say').hasAttribute('data-busy')")
        browser.read("document.querySelector('#message').focus()")
        browser.type(BREAK)
        browser.until("document.querySelector('.turns .deeds .bad') !== null")
        found["failed"] = browser.read("document.querySelector('.turns .copy button').textContent")
        # where the browser lets nobody copy, it is shown
        browser.read("navigator.clipboard.writeText = () => Promise.reject(new Error('no'))")
        browser.click(".turns .copy button")
        browser.until("!document.querySelector('.turns .copy textarea').hidden")
        found["by hand"] = browser.read("document.querySelector('.turns .copy textarea').value")
        assert browser.read("document.documentElement.scrollWidth") <= 400
        return found
    finally:
        browser.close()
