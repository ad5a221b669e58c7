"""The page about transports: its commands work as they stand, and it says of each transport what the suite holds it to."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.dev import STORYTELLER, dev
from tests.support.transports import WAYS, Gap

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "transports.md").read_text()
COMMANDS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
pytestmark = pytest.mark.timeout(120)


def run(command: str, port: int) -> str:
    """In a shell, as somebody would paste it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        ["bash", "-c", command.replace("localhost:8080", f"localhost:{port}")],
        capture_output=True, text=True, timeout=60, check=False, env={**environment, "PATH": path},
    )  # fmt: skip
    assert done.returncode in (0, 124), done.stderr  # 124: it was told to stop listening
    return done.stdout


def test_the_commands_work_one_after_the_other(tmp_path: Path) -> None:
    assert shutil.which("curl"), "install curl"
    with dev(str(STORYTELLER), "--port", "0", "--model", "scripted", folder=tmp_path) as running:
        told = [run(command, running.port) for command in COMMANDS]
    socket, turn, session, reply, events, state, completion = told
    assert '"done":true' in socket
    assert turn.count("data: ") > 5
    assert '"seq":4' in turn
    assert [f'"seq":{seq}' in session for seq in (1, 2, 3, 4)] == [True] * 4
    assert json.loads(reply)["client_msg_id"] == "c-7"
    numbers = [event["seq"] for event in json.loads(events)["events"]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert json.loads(state)["seq"] == numbers[-1]
    assert json.loads(completion)["choices"][0]["finish_reason"] == "stop"


def test_its_table_says_what_the_suite_holds() -> None:
    table = PAGE[PAGE.index("| Way |") :].partition("\n\n")[0].splitlines()[2:]
    rows = {cells[1].strip(): cells[4] for cells in (line.split("|") for line in table)}
    assert list(rows) == [way.name for way in WAYS]
    for way in WAYS:
        for gap in (Gap.DELTAS, Gap.STATE, Gap.MISSED, Gap.CANCEL, Gap.AMENDS, Gap.BUSY):
            assert (gap.value in rows[way.name]) == (gap in way.cannot), (way.name, gap)
