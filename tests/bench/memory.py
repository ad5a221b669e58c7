"""What sockets and sessions cost in memory: `rolehost dev` on this machine, whose gateway is the cluster's.

Idle sockets first, in steps; then a turn on some of them, which opens their sessions; then
more turns on those. Resident memory of the gateway's process, and the proportional share
(PSS) of agent and workers, who share pages. No peer: this is for sizing, not a claim.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.servers import python, server
from tests.support.ports import free_port
from websockets.asyncio.client import ClientConnection, connect

SETTLE_SECONDS = 3.0
AT_A_TIME = 50


def resident_kib(pid: int) -> int:
    """VmRSS of one process."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS:")


def proportional_kib(pids: set[int]) -> int:
    """Pss of several, so that what they share counts once."""
    return sum(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in pids)


def _field(file: Path, name: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def sandbox(pids: set[int]) -> set[int]:
    """Those that are agent, template or worker."""

    def is_one(pid: int) -> bool:
        try:
            return b"rolehost_runtime.sandbox" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    return {pid for pid in pids if is_one(pid)}


class People:
    """Sockets of the bare dialect."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sockets: list[ClientConnection] = []

    async def come(self, count: int) -> None:
        """Until there are so many."""
        while len(self.sockets) < count:
            few = min(AT_A_TIME, count - len(self.sockets))
            opened = [connect(self.url, compression=None, ping_interval=None, proxy=None) for _ in range(few)]
            self.sockets += await asyncio.gather(*opened)

    async def talk(self, count: int, message: str) -> None:
        """One turn on each of the first `count`."""
        for start in range(0, count, AT_A_TIME):
            few = range(start, min(count, start + AT_A_TIME))
            await asyncio.gather(*(self._turn(self.sockets[number], f"s{number}", message) for number in few))

    async def _turn(self, socket: ClientConnection, session: str, message: str) -> None:
        await socket.send(json.dumps({"message": message, "session_id": session}))
        while not json.loads(await socket.recv()).get("done"):
            pass

    async def go(self) -> None:
        await asyncio.gather(*(socket.close() for socket in self.sockets), return_exceptions=True)


async def measure(url: str, pid: int, steps: list[int], sessions: int, turns: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    people = People(url)

    async def note(open_sessions: int, said: int) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        pods = sandbox(machine.family(pid))
        rows.append(
            {
                "sockets": len(people.sockets),
                "sessions": open_sessions,
                "turns": said,
                "gateway_rss_kib": resident_kib(pid),
                "sandbox_pss_kib": proportional_kib(pods),
                "sandbox_processes": len(pods),
            }
        )
        print(rows[-1], file=sys.stderr)

    try:
        for step in steps:
            await people.come(step)
            await note(0, 0)
        for turn in range(1, turns + 1):
            await people.talk(sessions, f"tell me more of the dragon, part {turn}")
            if turn in (1, turns):
                await note(sessions, turn)
    finally:
        await people.go()
    return rows


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="memory", description=__doc__)
    parser.add_argument("--sockets", type=int, nargs="+", default=[0, 500, 2000])
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    options = parser.parse_args(arguments)
    port, model_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as data:
        role = Path(folder) / "role.yaml"
        # One pod is enough for all sessions here, so that sessions are measured and not pods.
        role.write_text(
            "apiVersion: rolehost.io/v1alpha1\nkind: Role\nmetadata: {name: cat}\n"
            "spec:\n  template: {persona: {system: You are a cat.}}\n  sessions: {maxPerPod: 10000}\n"
        )
        model = f"instant@http://127.0.0.1:{model_port}/v1"
        argv = python("rolehost.cli", "dev", str(role), "--port", str(port), "--data", data)
        with (
            server("model", python("tests.bench.model", str(model_port)), f"127.0.0.1:{model_port}"),
            server("rolehost dev", [*argv, "--model", model], f"http://127.0.0.1:{port}/readyz") as pid,
        ):
            rows = await measure(
                f"ws://127.0.0.1:{port}/role/cat", pid, options.sockets, options.sessions, options.turns
            )
    shown = json.dumps({"name": "memory", "rows": rows, "machine": machine.facts()}, indent=1, ensure_ascii=False)
    print(shown)
    if options.out:
        options.out.write_text(shown + "\n")
