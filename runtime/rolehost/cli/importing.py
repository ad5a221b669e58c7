"""Import a Role's logic in a process of its own: `python -m rolehost.cli.importing FOLDER MODULE:OBJECT`.

On the tenant's own machine only; on a cluster the same import happens under gVisor.
"""

import json
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path

PATIENCE = 20.0
"""As long as the sandbox gives an import."""


def import_fault(folder: Path, entrypoint: str) -> str:
    """Why the logic does not load, with its place; empty where it does."""
    command = [sys.executable, "-B", "-m", "rolehost.cli.importing", str(folder), entrypoint]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"importing {entrypoint} took over {PATIENCE:.0f} s: do no work at import, do it in a hook"
    last = done.stdout.strip().rpartition("\n")[2]
    try:
        return str(json.loads(last)["fault"])
    except (ValueError, KeyError, TypeError):
        return f"importing {entrypoint} ended the process with exit code {done.returncode}"


def _fault(folder: Path, entrypoint: str) -> str:
    from rolehost import Role

    module, _, attribute = entrypoint.partition(":")
    sys.path.insert(0, str(folder))
    try:
        found = getattr(import_module(module), attribute)
    except SystemExit:
        return f"{module}: ends the process at import; remove the exit"
    except Exception as error:
        return f"{_place(error, folder)}{type(error).__name__}: {error}"
    if not isinstance(found, Role):
        return f"{entrypoint} is {type(found).__name__}, not a Role; write {attribute} = Role(…)"
    return ""


def _place(error: Exception, folder: Path) -> str:
    """file:line of the innermost frame in the tenant's own code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}: "
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(folder))]
    return f"{Path(frames[-1].filename).relative_to(folder)}:{frames[-1].lineno}: " if frames else ""


if __name__ == "__main__":
    said = sys.stdout
    sys.stdout = sys.stderr
    print(json.dumps({"fault": _fault(Path(sys.argv[1]), sys.argv[2])}), file=said)
