"""`rolehost dev --embeddings local`: the embedder as a process beside this one, without a key in its environment."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator

import click

from rolehost_api.crd.modelbackend import BackendSpec, BackendType, ServedModel
from rolehost_api.errors import Unavailable
from rolehost_runtime.local.signals import send

START_SECONDS, STOP_SECONDS = 30.0, 3.0
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
MODEL = "all-MiniLM-L6-v2"


@contextlib.asynccontextmanager
async def embedding(wish: str) -> AsyncIterator[BackendSpec]:
    """The backend that it is, for as long as the block runs. Raises Unavailable `embeddings_unavailable`."""
    if wish != "local":
        raise click.BadParameter("is local", param_hint="--embeddings")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "rolehost_runtime.embedder"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "ROLEHOST_PORT": "0",
        },
        start_new_session=True,
    )
    try:
        port = await _port(process)
        served = [ServedModel(name=MODEL, model=MODEL)]
        yield BackendSpec(type=BackendType.EMBEDDINGS, base_url=f"http://127.0.0.1:{port}/v1", models=served)
    finally:
        await _ended(process)


async def _port(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    assert process.stderr is not None
    said = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            said = await process.stdout.readline()
            if found := re.search(rb"on port (\d+)", said):
                return int(found.group(1))
            said = await process.stderr.read(4096)
    last = said.decode("utf-8", "replace").strip().rpartition("\n")[2]
    raise Unavailable(
        f"the embedder did not start: {last or 'it said nothing'}",
        hint="pip install 'rolehost[embeddings]'",
        code="embeddings_unavailable",
        retryable=False,
    )


async def _ended(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            send(process, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
