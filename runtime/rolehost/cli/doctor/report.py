"""Findings as people and programs read them. Pure."""

import json
from collections.abc import Sequence

import click

from rolehost.cli.doctor.finding import Finding, State
from rolehost.cli.terminal import visible

COLOURS = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red", State.SKIPPED: "bright_black"}
INDENT = " " * 22


def line(finding: Finding) -> str:
    """A line, and one more for what mends it.

    >>> click.unstyle(line(Finding("lease", State.OK, "operator-1 leads")))
    'ok       lease        operator-1 leads'
    """
    state = click.style(f"{finding.state.value:9}", fg=COLOURS[finding.state], bold=finding.state is State.FAIL)
    what = visible(finding.what).replace("\n", f"\n{INDENT}")
    fix = f"\n{INDENT}→ {visible(finding.fix)}" if finding.fix else ""
    return f"{state}{finding.check:12} {what}{fix}"


def summary(findings: Sequence[Finding], took: float) -> str:
    """
    >>> summary([Finding("a", State.OK, ""), Finding("b", State.FAIL, "")], 6.34)
    '1 ok, 1 FAIL in 6.3 s'
    """
    counts = {state: sum(finding.state is state for finding in findings) for state in State}
    return ", ".join(f"{count} {state.value}" for state, count in counts.items() if count) + f" in {took:.1f} s"


def as_json(findings: Sequence[Finding], took: float) -> str:
    """One document: `ok` is false where anything FAILs."""
    told = [
        {"check": one.check, "state": one.state.value, "what": one.what, **({"fix": one.fix} if one.fix else {})}
        for one in findings
    ]
    return json.dumps({"ok": good(findings), "seconds": round(took, 1), "findings": told}, ensure_ascii=False, indent=2)


def good(findings: Sequence[Finding]) -> bool:
    return all(finding.state is not State.FAIL for finding in findings)
