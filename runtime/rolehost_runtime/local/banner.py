"""What `rolehost dev` says when it is up. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Facts:
    port: int
    roles: Sequence[tuple[str, str]]
    """(name, name as people see it)."""
    model: str
    advice: str
    sandbox: str
    """What the logic runs under; empty: nothing that holds it."""
    data: Path
    grpc_port: int | None = None
    """None: gRPC is not served."""


def banner(facts: Facts) -> str:
    """A few lines: where to go, what answers, and what is not as it is on a cluster."""
    base = f"http://localhost:{facts.port}"
    lines = ["", f"  page      {base}"]
    for name, shown in facts.roles:
        lines.append(f"  {'Role':9} ws://localhost:{facts.port}/role/{shown if shown.lower() == name else name}")
    if facts.grpc_port is not None:
        lines.append(f"  gRPC      localhost:{facts.grpc_port}")
    lines.append(f"  model     {facts.model}")
    if facts.advice:
        lines.append(f"            change it: {facts.advice}")
    lines.append(f"  sandbox   {facts.sandbox or 'a plain process: NO boundary, run only code that you trust'}")
    lines.append(f"  data      {facts.data}")
    lines.append("\n  Edit a file and the next answer follows. Ctrl-C ends it; sessions stay.\n")
    return "\n".join(lines)
