"""The boards: which there are, and the files that they are rendered into."""

from pathlib import Path

from rolehost_dashboards.boards import platform, role, rollout, sandbox, tenant
from rolehost_dashboards.boards.board import Board, text

GENERATED = Path("dashboards/generated/grafana")
CHART = Path("charts/rolehost/files/dashboards")
"""A chart cannot read what lies outside of it."""


def boards() -> tuple[Board, ...]:
    return (platform.board(), tenant.board(), role.board(), rollout.board(), sandbox.board())


def rendered() -> dict[Path, str]:
    """Each board twice: for whoever imports it, and for the chart."""
    texts = {f"{board.name}.json": text(board) for board in boards()}
    return {folder / name: found for folder in (GENERATED, CHART) for name, found in texts.items()}
