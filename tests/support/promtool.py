"""Alert rules on made-up series, by Prometheus' own promtool: time is an argument."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
RULES = REPOSITORY / "dashboards" / "generated" / "rules" / "rolehost.yaml"
MINUTE, HOUR, DAY = 1, 60, 1440
"""In the tests' unit: a sample and an evaluation are a minute apart."""


def tool(name: str) -> str:
    """The program's path; a test is left out where there is none, but with CI set it fails."""
    found = shutil.which(name)
    if found is None:
        said = f"{name} is not on PATH; tests/run.sh installs it from Debian's prometheus and prometheus-alertmanager"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    return found


class Series(NamedTuple):
    """One series, a sample a minute."""

    name: str
    labels: Mapping[str, str]
    values: str

    def plain(self) -> dict[str, str]:
        shown = ", ".join(f'{key}="{value}"' for key, value in self.labels.items())
        return {"series": f"{self.name}{{{shown}}}", "values": self.values}


def counter(*parts: tuple[int, int], start: int = 0) -> str:
    """The samples of a counter that rises by so many a minute, for so many minutes, one part after the other.

    >>> counter((2, 3), (0, 2))
    '0 2 4 6 6 6'
    """
    value, samples = start, [start]
    for step, minutes in parts:
        for _ in range(minutes):
            value += step
            samples.append(value)
    return " ".join(map(str, samples))


def steady(value: str, minutes: int) -> str:
    return " ".join([value] * (minutes + 1))


class Expected(NamedTuple):
    """In minute `at` exactly these alerts of that name fire: each by its labels. With a `window`, those of it alone."""

    at: int
    alert: str
    labels: tuple[Mapping[str, str], ...]
    window: str = ""

    def plain(self) -> dict[str, Any]:
        always = {"alertname": self.alert, "alertstate": "firing"}
        asked = {**always, "window": self.window} if self.window else always
        return {
            "expr": _sample(asked),
            "eval_time": f"{self.at}m",
            "exp_samples": [{"labels": _sample({**always, **labels}), "value": 1} for labels in self.labels],
        }


def _sample(labels: Mapping[str, str]) -> str:
    return "ALERTS{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def objections(
    series: Iterable[Series], expected: Iterable[Expected], folder: Path, every: int = 1, groups: str = ""
) -> str:
    """What promtool holds against it; empty: it is so. `every` so many minutes the rules are evaluated, five at most:
    what is older is not looked up. Only groups whose name begins with `groups` are, for each one takes its time."""
    taken = [group for group in yaml.safe_load(RULES.read_text())["groups"] if group["name"].startswith(groups)]
    rules = folder / "rules.yaml"
    rules.write_text(json.dumps({"groups": taken}))
    written = {
        "rule_files": [str(rules)],
        "evaluation_interval": f"{every}m",
        "group_eval_order": [group["name"] for group in taken],
        "tests": [
            {
                "interval": "1m",
                "input_series": [one.plain() for one in series],
                "promql_expr_test": [one.plain() for one in expected],
            }
        ],
    }
    file = folder / "test.yaml"
    file.write_text(json.dumps(written))
    done = subprocess.run([tool("promtool"), "test", "rules", file], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr
