"""An S3 on the loopback: a server in a process of its own, the real wire, one bucket, everything in its memory.

gofakes3, because it shares nothing with this Python. tests/cluster/parts pins it; whoever needs it first builds it into
the cluster's cache, half a minute with nothing cached, and no cluster is needed for that. Without Go a test is skipped;
with CI set it fails.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from tests.cluster import parts
from tests.cluster.common import Impossible, alone, paths

PROGRAM, BUCKET = "gofakes3", "segments"
BUILD_SECONDS = 120
"""What the first test that needs it may wait longer than others."""
PATIENCE_SECONDS = 15
LISTENING = "using port: "
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "rolehost",
    "AWS_SECRET_ACCESS_KEY": "a-dragon",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


class S3:
    def __init__(self, address: str) -> None:
        self.address = address
        self.url = f"s3://{BUCKET}/rolehost"

    @contextmanager
    def environment(self) -> Iterator[None]:
        """What a gateway's process would be given beside the URL."""
        given = {**ENVIRONMENT, "AWS_ENDPOINT_URL": self.address}
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def s3(environment: Mapping[str, str] = os.environ) -> Iterator[S3]:
    """A server that is empty but for its bucket, and answers. It ends with the block, and what it held with it."""
    with tempfile.TemporaryDirectory(prefix="rh-s3-") as folder, (Path(folder) / "log").open("w+b") as log:
        command = [_program(environment), "-backend", "memory", "-initialbucket", BUCKET, "-host", "127.0.0.1:0"]
        process = subprocess.Popen([*command, "-quiet"], cwd=folder, stdout=log, stderr=log)
        try:
            yield S3(_address(process, Path(log.name)))
        finally:
            process.kill()  # it keeps nothing that a gentler end would save
            process.wait(10)


def _program(environment: Mapping[str, str]) -> str:
    """Built if it is not there; only building has to be alone in the cache."""
    where = paths()
    try:
        if parts.stale(where, [PROGRAM]):
            with alone(where):
                parts.build(where, [PROGRAM])
    except Impossible as why:
        (pytest.fail if environment.get("CI") else pytest.skip)(f"no S3 server: {why}")
    return where.tool(PROGRAM)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Where it listens, once its bucket answers there: the port is the system's choice, so no other can be on it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        told = log.read_text()
        if LISTENING in told and told.endswith("\n"):
            address = f"http://127.0.0.1:{int(told.rpartition(LISTENING)[2].split()[0])}"
            try:
                with urlopen(f"{address}/{BUCKET}", timeout=2):
                    return address
            except URLError:
                pass
        time.sleep(0.02)
    raise RuntimeError(f"{PROGRAM} did not start: {log.read_text()[-300:]}")
