"""A third party's package, built and installed by pip without a network: held to the suites, and used in turns."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.dev import PATIENCE, Dev, dev

ACME = Path(__file__).parent / "acme"
pytestmark = pytest.mark.timeout(180)

ROLE = """
apiVersion: rolehost.io/v1alpha1
kind: ModelBackend
metadata: {name: parrots}
spec: {type: Plugin, plugin: parrot}
---
apiVersion: rolehost.io/v1alpha1
kind: Role
metadata: {name: pirate}
spec:
  template:
    persona: {system: You are a pirate.}
    model: {backend: parrots}
    prompt: {plugin: letter}
    safety: {guards: [{name: aboard, stages: [Input], plugin: {name: manners}}]}
    behavior:
      policy: last
      initial: Ship
      nodes: {Ship: {}, Cabin: {}, Island: {}}
      edges:
      - {from: Ship, to: Cabin, weight: 1000000}
      - {from: Ship, to: Island, weight: 0.000001}
      - {from: Island, to: Ship}
      - {from: Cabin, to: Ship}
    logic:
      inline: |
        from rolehost import Role
        pirate = Role("pirate")
        @pirate.on_message
        async def listen(t):
            if t.message.startswith("?"):
                t.say(", ".join(one.text for one in await t.memory.recall(t.message[1:])) or "nothing")
            else:
                t.memory.remember(t.message)
                await t.reply(t.ask())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and its metadata, as pip lays it out."""
    source, target = tmp_path_factory.mktemp("acme") / "source", tmp_path_factory.mktemp("site")
    shutil.copytree(ACME, source)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index",
         "--no-build-isolation", "--no-deps", "--target", str(target), str(source)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return target


def path(site: Path) -> str:
    return os.pathsep.join([str(site), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])


def test_it_passes_the_suites_that_the_platform_ships(installed: Path, tmp_path: Path) -> None:
    shutil.copy(ACME / "conformance_acme.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "conformance_acme.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": path(installed)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def say(running: Dev, message: str, session: str = "voyage") -> list[dict[str, Any]]:
    with running.socket("pirate", subprotocols=["role.v1"]) as socket:
        socket.send(json.dumps({"message": message, "session_id": session, "user": "ann"}))
        events: list[dict[str, Any]] = []
        while not events or not (events[-1].get("done") or events[-1]["type"] == "error"):
            events.append(json.loads(socket.recv(timeout=PATIENCE)))
    return events


def test_it_is_found_and_takes_part_in_turns(installed: Path, tmp_path: Path) -> None:
    folder, base = tmp_path / "pirate", tmp_path / "shelf.db"
    folder.mkdir()
    (folder / "role.yaml").write_text(ROLE)
    options = (str(folder), "--port", "0", "--model", "scripted", "--data", str(tmp_path / "data"))
    allowed = {
        "PYTHONPATH": path(installed),
        "ROLEHOST_PLUGINS": "acme.plugins",
        "ROLEHOST_MEMORY_STORE": "shelf",
        "ACME_SHELF": str(base),
    }
    with dev(*options, folder=tmp_path, environment=allowed) as running:
        events = say(running, "Ahoy there")
        assert events[-1]["message"] == "Squawk: Ahoy there", "the ModelProvider"
        [step] = [event for event in events if event["type"] == "role.behavior.transition"]
        assert (step["from"], step["to"]) == ("Ship", "Island"), "the BehaviorPolicy: by weight it were the cabin"
        assert say(running, "Orders?")[-1]["message"] == "Squawk: Dear model,\n\nYou are a pirate.", (
            "the PromptTemplate"
        )
        assert say(running, "Blast that gull")[-1]["message"] == "Squawk: b***t that gull", "the Guard"
        assert say(running, "?ahoy", "later")[-1]["message"] == "Ahoy there", "what was just acknowledged"
    with sqlite3.connect(base) as opened:
        rows = opened.execute("select what from facts where substr(name, 1, 1) = x'61'").fetchall()
    opened.close()
    assert sum(b"Ahoy there" in what for (what,) in rows) == 1, "the MemoryStore"
    with dev(*options, folder=tmp_path, environment=allowed) as running:
        assert say(running, "?ahoy", "again")[-1]["message"] == "Ahoy there"


def test_what_is_installed_and_not_allowed_is_not_there(installed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pirate"
    folder.mkdir()
    (folder / "role.yaml").write_text(ROLE.replace("policy: last", ""))
    options = (str(folder), "--port", "0", "--model", "scripted", "--data", str(tmp_path / "data"))
    with dev(*options, folder=tmp_path, environment={"PYTHONPATH": path(installed)}) as running:
        [failed] = [event for event in say(running, "Ahoy") if event["type"] in ("error", "response.done")][-1:]
        assert "plugin_not_found" in json.dumps(failed)
        (folder / "role.yaml").write_text(ROLE)
        assert "plugin_not_found" in running.until(r"(.*plugin_not_found.*)"), "the logic does not load"


def test_a_gateway_does_not_start_without_what_it_is_told_to_load(installed: Path, tmp_path: Path) -> None:
    scrubbed = {name: value for name, value in os.environ.items() if not name.startswith("ROLEHOST_")}
    for allowed, site, said in (
        ("nobodys-package", installed, "nobodys-package is allowed as a plugin, and is not installed"),
        ("acme-plugins", tmp_path, "is for version 9 of it"),
    ):
        if site is tmp_path:
            shutil.copytree(installed, tmp_path, dirs_exist_ok=True)
            code = tmp_path / "acme_plugins" / "__init__.py"
            code.write_text(code.read_text().replace("rolehost_protocol = 1", "rolehost_protocol = 9"))
        done = subprocess.run(
            [sys.executable, "-m", "rolehost.cli", "gateway"],
            capture_output=True, text=True, timeout=60,
            env={**scrubbed, "PYTHONPATH": path(site), "ROLEHOST_PLUGINS": allowed},
        )  # fmt: skip
        assert done.returncode == 1
        assert said in done.stderr
        assert allowed in done.stderr
