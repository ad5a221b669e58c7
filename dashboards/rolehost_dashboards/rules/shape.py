"""What a rule file consists of, as Prometheus reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import yaml

RUNBOOKS = "https://rolehost.invalid/runbooks"
"""Where `runbook_url` begins; the chart puts `metrics.rules.runbooks` in its place."""
NOTICE = "# Rendered from dashboards/rolehost_dashboards/rules by `make render`; do not edit."


class Severity(Enum):
    """Whom it calls: somebody now, or somebody on a working day."""

    PAGE = "page"
    TICKET = "ticket"


class Scope(Enum):
    """Whose it is: one Role's or one tenant's, or everybody's."""

    ROLE = "role"
    PLATFORM = "platform"


@dataclass(frozen=True)
class Record:
    name: str
    expr: str

    def plain(self) -> dict[str, Any]:
        return {"record": self.name, "expr": self.expr}


@dataclass(frozen=True)
class Alert:
    """`summary` and `description` are templates; they name labels whose values are names of objects or codes of ours."""

    name: str
    expr: str
    severity: Severity
    scope: Scope
    summary: str
    description: str
    held: str = ""
    """For so long it must be so, e.g. 5m."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return {
            "alert": self.name,
            "expr": self.expr,
            **({"for": self.held} if self.held else {}),
            "labels": {"severity": self.severity.value, "scope": self.scope.value, **self.labels},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOKS}/{self.name}.md",
            },
        }


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated together, in this order."""

    name: str
    interval: str
    rules: tuple[Record | Alert, ...]

    def plain(self) -> dict[str, Any]:
        return {"name": self.name, "interval": self.interval, "rules": [rule.plain() for rule in self.rules]}


class _Dumper(yaml.SafeDumper):
    """Several lines as a block, as people write expressions."""


def _lines(dumper: _Dumper, said: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", said, style="|" if "\n" in said else None)


_Dumper.add_representer(str, _lines)


def text(groups: tuple[Group, ...]) -> str:
    """A rule file."""
    plain = {"groups": [group.plain() for group in groups]}
    return f"{NOTICE}\n{yaml.dump(plain, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)}"
