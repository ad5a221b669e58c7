"""The only process that opens what a tenant sent: `python -m … bundle IN OUT` or `… manifest IN`.

It bounds itself before it reads a byte, has no environment and no network of use, and
answers with one line of JSON: the outcome, or an error of ours. Whatever it does beyond
that, it is killed for (`run`).
"""

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from rolehost_api import bundle, manifest
from rolehost_api.errors import RolehostError, Unavailable
from rolehost_runtime.core.dsl.manifests import COMPILER

WALL_SECONDS = 30.0
CPU_SECONDS = 20
MEMORY_BYTES = 512 << 20
FILE_BYTES = 64 << 20
OPEN_FILES = 64
MAX_ANSWER_BYTES = 1 << 20
MAX_FINDINGS = 200
"""More than anybody fixes at once."""


def bound() -> None:
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an OSError instead


def check_bundle(source: Path, target: Path) -> dict[str, Any]:
    """Write the canonical form of an archive; whatever form it came in, the same files have the same digest."""
    with tempfile.TemporaryDirectory() as scratch:
        contents = bundle.extract(source.read_bytes(), Path(scratch, "bundle"))
        archive = bundle.pack(Path(scratch, "bundle"))
    target.write_bytes(bundle.compress(archive))
    return {"digest": bundle.digest(archive), "files": len(contents.files), "bytes": len(archive)}


def check_manifest(source: Path) -> dict[str, Any]:
    findings = manifest.check(source.read_bytes(), compiler=COMPILER)
    return {"findings": msgspec.to_builtins(findings[:MAX_FINDINGS])}


def main(arguments: list[str]) -> None:
    bound()
    try:
        match arguments:
            case ["bundle", source, target]:
                outcome = check_bundle(Path(source), Path(target))
            case ["manifest", source]:
                outcome = check_manifest(Path(source))
            case _:
                raise SystemExit("usage: checker bundle IN OUT | manifest IN")
    except RolehostError as error:
        outcome = {"error": {"code": error.code, "message": error.message, "hint": error.hint, "status": error.status}}
    sys.stdout.write(json.dumps(outcome))


class Refused(RolehostError):
    """What the checker found wrong, as it said it."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"], hint=error["hint"], code=error["code"])
        self.status = error["status"]


async def run(*arguments: str, seconds: float = WALL_SECONDS) -> dict[str, Any]:
    """Check in a process of its own. Raises what it found, or Unavailable `check_failed` where it died of its bounds."""
    scratch = await asyncio.to_thread(tempfile.mkdtemp, prefix="check-")
    try:
        return await _run(scratch, arguments, seconds)
    finally:  # a process that was killed cleans up nothing
        await asyncio.to_thread(shutil.rmtree, scratch, True)


async def _run(scratch: str, arguments: tuple[str, ...], seconds: float) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-m", __name__, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TMPDIR": scratch},
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(seconds):
            answer = await _whole(process.stdout)
            status = await process.wait()
    except TimeoutError:
        raise _died() from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # and what it may have started
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    try:
        outcome = json.loads(answer) if status == 0 else None
    except ValueError:
        outcome = None
    if not isinstance(outcome, dict):
        raise _died()
    if "error" in outcome:
        raise Refused(outcome["error"])
    return outcome


async def _whole(stdout: asyncio.StreamReader) -> bytes:
    answer = b""
    while chunk := await stdout.read(65_536):
        answer += chunk
        if len(answer) > MAX_ANSWER_BYTES:
            raise _died()
    return answer


def _died() -> Unavailable:
    return Unavailable(
        "the check needed more time or memory than it may have", hint="Make it smaller", code="check_failed",
        retryable=False,
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
