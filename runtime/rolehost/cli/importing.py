"""Import a Role's logic in a process of its own: `python -m rolehost.cli.importing FOLDER MODULE:OBJECT`.

On the tenant's own machine only; on a cluster the same import happens under gVisor.
"""

import json
import subprocess
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from rolehost_runtime.core.dsl.expressions import Names

PATIENCE = 20.0
"""As long as the sandbox gives an import."""


class Imported(NamedTuple):
    fault: str
    """Why the logic does not load, with its place; empty where it does."""
    names: Names | None = None
    """The types of what it keeps."""
    files: tuple[str, ...] = ()
    """Of the folder, what was imported: other files beside it may be other Roles', or its tests."""


def imported(folder: Path, entrypoint: str, behavior: Mapping[str, Any]) -> Imported:
    """What comes of importing the logic. `behavior` is the manifest's, which is right but for what only the logic knows."""
    command = [sys.executable, "-B", "-m", "rolehost.cli.importing", str(folder), entrypoint, json.dumps(behavior)]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return Imported(f"importing {entrypoint} took over {PATIENCE:.0f} s: do no work at import, do it in a hook")
    last = done.stdout.strip().rpartition("\n")[2]
    try:
        return msgspec.json.decode(last, type=Imported)
    except msgspec.MsgspecError:
        return Imported(f"importing {entrypoint} ended the process with exit code {done.returncode}")


def _imported(folder: Path, entrypoint: str, behavior: Mapping[str, Any]) -> Imported:
    try:
        return _found(folder, entrypoint, behavior)
    except _Fault as fault:
        return Imported(str(fault))


class _Fault(Exception):
    """Why the logic does not load."""


def _found(folder: Path, entrypoint: str, behavior: Mapping[str, Any]) -> Imported:
    from rolehost import Role
    from rolehost_api.errors import InvalidManifest
    from rolehost_runtime.core.behavior.declaring import graph_of
    from rolehost_runtime.core.behavior.graph import InvalidBehavior
    from rolehost_runtime.core.dsl.compiling import Surroundings, compile_behavior
    from rolehost_runtime.core.dsl.declared import names_of

    module, _, attribute = entrypoint.partition(":")
    sys.path.insert(0, str(folder))
    try:
        found = getattr(import_module(module), attribute)
    except SystemExit:
        raise _Fault(f"{module}: ends the process at import; remove the exit") from None
    except Exception as error:
        place = _place(error, folder)
        raise _Fault(f"{place}{type(error).__name__}: {str(error).removeprefix(place)}") from None
    if not isinstance(found, Role):
        raise _Fault(f"{entrypoint} is {type(found).__name__}, not a Role; write {attribute} = Role(…)")
    try:
        graph_of(found, compile_behavior(behavior, Surroundings(has_logic=True)), placed=lambda at: _line(at, folder))
    except InvalidManifest:
        return Imported("", files=_files(folder))  # said already, with its line
    except InvalidBehavior as error:
        at = error.declared_at
        raise _Fault(f"{_line(at, folder)}: {error}" if at[0] else str(error)) from None
    return Imported("", names_of(found), _files(folder))


def _files(folder: Path) -> tuple[str, ...]:
    names = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    places = [Path(name) for name in names if name]
    return tuple(sorted(str(place.relative_to(folder)) for place in places if place.is_relative_to(folder)))


def _line(at: tuple[str, int], folder: Path) -> str:
    """As the tenant knows it."""
    file = Path(at[0])
    return f"{file.relative_to(folder) if file.is_relative_to(folder) else file.name}:{at[1]}"


def _place(error: Exception, folder: Path) -> str:
    """file:line of the innermost frame in the tenant's own code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}: "
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(folder))]
    return f"{Path(frames[-1].filename).relative_to(folder)}:{frames[-1].lineno}: " if frames else ""


if __name__ == "__main__":
    said = sys.stdout
    sys.stdout = sys.stderr
    print(msgspec.json.encode(_imported(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))).decode(), file=said)
