"""Run a session's turns again in a process of its own: `python -m rolehost.cli.rerunning FOLDER MODULE[:OBJECT] NAME BEHAVIOR`.

An export comes in on stdin, a verdict a line goes out on stdout. On the tenant's own machine only: it runs their code.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from rolehost.cli import checkout
from rolehost_api.errors import BadRequest

PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Logic:
    """Where a Role's code is: a folder, and `module`, `module:object` or nothing in it."""

    folder: Path
    entrypoint: str
    behavior: str = "{}"
    """Of the manifest, as JSON."""


@contextmanager
def logic_at(path: str, role: str) -> Iterator[Logic]:
    """The code that `path` means: `story.py`, `story.py:storyteller`, a manifest, or a folder with one. Raises
    BadRequest `no_logic`."""
    file, _, attribute = path.partition(":")
    if file.endswith(".py"):
        found = Path(file).resolve()
        if not found.is_file():
            raise BadRequest(f"there is no {file}", code="no_logic")
        yield Logic(found.parent, f"{found.stem}:{attribute}")
        return
    name = role.partition("@")[0].rpartition("/")[2].lower()
    for manifest in checkout.manifests(Path(path)):
        here = checkout.read(manifest)
        for one in here.roles:
            if one.metadata.name != name:
                continue
            logic, behavior = one.spec.template.logic, json.dumps(one.spec.template.behavior)
            if logic is None:
                yield Logic(here.folder, "", behavior)
            elif checkout.uses_files(logic):
                yield Logic(here.folder, logic.entrypoint, behavior)
            elif logic.inline:
                with tempfile.TemporaryDirectory() as folder:
                    (Path(folder) / "logic.py").write_text(logic.inline)
                    yield Logic(Path(folder), logic.entrypoint or "logic:", behavior)
            else:
                break
            return
    raise BadRequest(
        f"{path} has no Role {name} whose code is here", hint="Give a file, e.g. story.py", code="no_logic"
    )


def verdicts(logic: Logic, role: str, lines: bytes) -> list[dict[str, Any]]:
    """What running the exported turns again came to. Raises ClickException where the code does not load."""
    command = [
        sys.executable, "-B", "-m", "rolehost.cli.rerunning", str(logic.folder), logic.entrypoint, role, logic.behavior
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, cwd=logic.folder, input=lines, stdout=subprocess.PIPE, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise click.ClickException(f"the turns did not end within {PATIENCE:.0f} s") from None
    try:
        found = [json.loads(line) for line in done.stdout.splitlines()]
    except ValueError:
        found = []
    if done.returncode or not found:
        raise click.ClickException(f"the logic ended the process with exit code {done.returncode}")
    if "fault" in found[0]:
        raise click.ClickException(found[0]["fault"])
    return found


def _run(folder: str, entrypoint: str, name: str, behavior: str) -> Iterator[dict[str, Any]]:
    from msgspec import to_builtins

    from rolehost_runtime.core.behavior.declaring import graph_of
    from rolehost_runtime.core.behavior.stating import bare
    from rolehost_runtime.core.dsl.compiling import Surroundings, compile_behavior
    from rolehost_runtime.core.export import ExportTurn, decode_line, recorded
    from rolehost_runtime.core.rerun import rerun

    sys.path.insert(0, folder)
    try:
        compiled = compile_behavior(json.loads(behavior), Surroundings(has_logic=bool(entrypoint)))
        role = _role(entrypoint) if entrypoint else bare(name, compiled)
        graph = graph_of(role, compiled)
    except Exception as error:
        yield {"fault": f"{entrypoint or name} does not load: {type(error).__name__}: {error}"}
        return
    turns = [line for raw in sys.stdin.buffer if isinstance(line := decode_line(raw), ExportTurn)]
    session_id = turns[0].session_id if turns else ""
    yield {"turns": len(turns)}
    for verdict in rerun(role, session_id, map(recorded, turns), graph):
        yield {"verdict": type(verdict).__name__.lower(), **to_builtins(verdict)}


def _role(entrypoint: str) -> Any:
    from rolehost import Role

    module, _, attribute = entrypoint.partition(":")
    names = vars(import_module(module))
    if attribute:
        return names[attribute]
    found = {id(value): value for value in names.values() if isinstance(value, Role)}
    if len(found) != 1:
        raise LookupError(f"{module} has {len(found)} Roles; name one as {module}.py:NAME")
    return found.popitem()[1]


if __name__ == "__main__":
    told = sys.stdout
    sys.stdout = sys.stderr
    for verdict in _run(*sys.argv[1:5]):
        print(json.dumps(verdict), file=told, flush=True)
