"""What a tenant types, on the real cluster: deploy, deploy --watch, chat and logs, and what they say when it goes wrong."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.cluster import install
from tests.cluster.common import REPOSITORY
from tests.cluster.testing import Cluster, Tenant
from tests.support.talk import talk
from websockets.typing import Subprotocol

ROLE_V1 = [Subprotocol("role.v1")]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def tenant(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("tools") as made:
        yield made


@pytest.fixture(scope="module")
def key(tenant: Tenant) -> str:
    return tenant.key("chat", "push")


@pytest.fixture
def shell(cluster: Cluster, key: str) -> "Shell":
    return Shell(cluster, key)


class Shell:
    """A tenant's terminal."""

    def __init__(self, cluster: Cluster, key: str) -> None:
        self._cluster, self._key = cluster, key

    def environment(self, *, url: bool) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ROLEHOST_")}
        where = {"ROLEHOST_URL": f"http://{self._cluster.gateway}"} if url else {}
        return {**kept, "KUBECONFIG": str(self._cluster.where.kubeconfig), "ROLEHOST_KEY": self._key, **where}

    def run(self, *argv: str, code: int = 0, url: bool = True) -> str:
        """A command that ends by itself; both streams."""
        done = subprocess.run(
            [sys.executable, "-m", "rolehost.cli", *argv],
            env=self.environment(url=url),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, done.stdout
        assert "Traceback (" not in done.stdout
        return done.stdout

    @contextmanager
    def running(self, *argv: str) -> Iterator["Running"]:
        """A command that goes on until it is told to stop."""
        process = subprocess.Popen(
            [sys.executable, "-m", "rolehost.cli", *argv],
            env=self.environment(url=True),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running = Running(process)
        try:
            yield running
        finally:
            process.terminate()
            process.wait(20)
            running.reader.join(20)


class Running:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._printed: list[str] = []
        self._news = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with self._news:
                    self._printed.append(line)
                    self._news.notify_all()

    def until(self, pattern: str) -> str:
        """Wait for a line that was not asked for before; everything up to it is past then."""

        def found() -> int | None:
            return next((at for at, line in enumerate(self._printed) if re.search(pattern, line)), None)

        with self._news:
            self._news.wait_for(lambda: found() is not None or self._process.poll() is not None, PATIENCE)
            at = found()
            assert at is not None, f"no {pattern!r} in:\n{''.join(self._printed)}"
            line = self._printed[at]
            del self._printed[: at + 1]
        return line


@pytest.fixture
def role(shell: Shell, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A new Role in a folder outside of the repository, named after the test."""
    name = str(request.node.name).replace("_", "-").removeprefix("test-")[:30].rstrip("-")
    shell.run("new", name, str(tmp_path / name))
    return tmp_path / name


def source(folder: Path) -> Path:
    (found,) = (file for file in folder.glob("*.py") if not file.name.startswith("test_"))
    return found


@pytest.mark.timeout(180)
def test_watch_moves_the_open_socket(cluster: Cluster, tenant: Tenant, shell: Shell, key: str, role: Path) -> None:
    url = f"ws://{cluster.gateway}/role/{role.name}"
    with shell.running("deploy", str(role), "--watch", "-n", tenant.name) as deploying:
        first = deploying.until(f"{role.name} serves ").split()[2]
        deploying.until("watching")
        with talk(url, key=key, session_id="open", subprotocols=ROLE_V1) as person:
            assert "hello" in person.say("hello")["message"]
            logic = source(role)
            logic.write_text(
                logic.read_text().replace("await t.reply(t.ask())", 'await t.reply(f"edited {t.state.messages}")')
            )
            second = deploying.until(f"{role.name} serves ").split()[2]
            assert second != first
            assert person.say("and now?")["message"] == "edited 2", "its state went along"
            moved = [frame for frame in person.frames if frame["type"] == "role.revision"]
            assert len(moved) == 1
            assert moved[0]["session_id"] == "open"
            logic.write_text("def broken(:\n")
            deploying.until(rf"{logic.name}:1: ")
            assert person.say("still there?")["message"] == "edited 3"


@pytest.mark.timeout(120)
def test_deploy_chat_and_logs(tenant: Tenant, shell: Shell, role: Path) -> None:
    told = shell.run("deploy", str(role), "-n", tenant.name)
    assert "Ready=True Serving" in told
    assert f"at ws://{shell.environment(url=True)['ROLEHOST_URL'][7:]}/role/{role.name}" in told
    answer = shell.run("chat", role.name, "-m", "how do you do?", "--session", "s1", url=False)
    assert "how do you do?" in answer
    with shell.running("logs", role.name, "-f") as logs:
        assert " s1 " in logs.until("message 1 of this session")
        shell.run("chat", role.name, "-m", "well", "--session", "s1")
        assert " s1 " in logs.until("message 2 of this session")


@pytest.mark.timeout(120)
def test_deploy_of_broken_logic_names_the_line(tenant: Tenant, shell: Shell, role: Path) -> None:
    logic = source(role)
    logic.write_text(logic.read_text() + "\nraise ValueError('secret words')\n")
    line = len(logic.read_text().splitlines())
    told = shell.run("deploy", str(role), "-n", tenant.name, code=1)
    assert f"{role.name}: LogicInvalid: " in told
    assert f"ValueError at {logic.name}:{line}" in told
    assert "secret words" not in told


def test_deploy_of_a_typo_names_the_field(cluster: Cluster, tenant: Tenant, shell: Shell, role: Path) -> None:
    manifest = role / "role.yaml"
    manifest.write_text(manifest.read_text().replace("displayName", "displayname"))
    line = next(n for n, text in enumerate(manifest.read_text().splitlines(), 1) if "displayname" in text)
    told = shell.run("deploy", str(role), "-n", tenant.name, code=1)
    assert f"spec.displayname (line {line})" in told
    assert "Did you mean `displayName`?" in told
    assert cluster.kubectl("get", "rhr", role.name, "-n", tenant.name, "--ignore-not-found") == ""


@pytest.mark.timeout(120)
def test_the_example_is_applied_as_the_readme_says(cluster: Cluster) -> None:
    """The lines that `make cluster` prints last, with kubectl and the tenant `default` as they are there."""
    default = Shell(cluster, install.tenant(cluster.where, "default"))
    was_there = cluster.kubectl("get", "rhr", "storyteller", "-n", "default", "--ignore-not-found") != ""
    cluster.kubectl("apply", "-n", "default", "-f", str(REPOSITORY / "examples/storyteller/role.yaml"))
    try:
        cluster.kubectl("wait", "-n", "default", "--for=condition=Ready", "rhr/storyteller", "--timeout=60s")
        assert "讲一个关于龙的短故事" in default.run("chat", "storyteller", "-m", "讲一个关于龙的短故事", url=False)
    finally:
        if not was_there:
            cluster.kubectl("delete", "rhr", "storyteller", "-n", "default", "--wait=false")
