"""A real Prometheus understands every query of every board, and a picture shows what it was told."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from tests.support.prometheus import Exporter, PrometheusProcess

from rolehost_api import slo
from rolehost_dashboards.boards import boards
from rolehost_dashboards.boards.board import document
from rolehost_dashboards.lint.rules import panels
from rolehost_dashboards.picture.__main__ import main
from rolehost_dashboards.picture.asking import Prometheus, asked
from rolehost_dashboards.picture.data import Span

VARIABLES = {"tenant": "acme", "role": "cat", "revision": ".*", "rollout": ".*", "instance": ".*"}
BOARDS = [document(board) for board in boards()]


def judged() -> dict[str, float | str]:
    """As the operator exports it."""
    of = 'tenant="acme",role="cat"'
    bets = {
        ("fast/whole", "Unhealthy"): (7.5, 7.2),
        ("fast/first", "Unhealthy"): (-1, 10),
        ("fast/whole", "Healthy"): (3.45, 6.9),
    }
    return {
        **{f'{slo.VERDICT}{{{of},verdict="{one}"}}': int(one == "Unhealthy") for one in ("Healthy", "Unhealthy", "Unknown")},
        f"{slo.SAMPLES}{{{of}}}": 102,
        **{
            f'{name}{{{of},metric="{metric}",direction="{direction}"}}': value
            for (metric, direction), values in bets.items()
            for name, value in zip((slo.EVIDENCE, slo.EVIDENCE_THRESHOLD), values, strict=True)
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusProcess]:
    exporter = Exporter()
    of = 'tenant="acme",role="cat",revision="cat-1"'
    exporter.series = {
        "rolehost_gateway_sockets": 4711,
        f"rolehost_revision_sessions{{{of}}}": 42,
        'rolehost_rollout_transitions_total{tenant="acme",role="cat",action="Stepped"}': 1,
        **judged(),
    }
    started = PrometheusProcess(tmp_path_factory.mktemp("prometheus"), {"gateways": [exporter.address]})
    started.start()
    prometheus, deadline = Prometheus(started.url), time.monotonic() + 20
    while not prometheus.now("rolehost_gateway_sockets", time.time(), ""):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield started
    started.kill()
    exporter.close()


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_every_query_is_understood(server: PrometheusProcess, board: Any) -> None:
    """Annotations too; what it does not understand it refuses, and that is raised."""
    now = time.time()
    drawn = asked(board, Prometheus(server.url), Span(now - 600, now, 15), VARIABLES, 1)
    assert len(drawn) == len(panels(board))


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_series_of_every_variable_are_understood(server: PrometheusProcess, board: Any) -> None:
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            selector = variable["query"].removeprefix("label_values(").rsplit(",", 1)[0]
            for name, value in VARIABLES.items():
                selector = selector.replace(f"${name}", value)
            with urlopen(f"{server.url}/api/v1/series?{urlencode({'match[]': selector})}") as answer:
                assert json.load(answer)["status"] == "success"


def test_how_near_a_rollout_is_to_a_verdict(server: PrometheusProcess) -> None:
    now, board = time.time(), next(one for one in BOARDS if one["uid"] == "rolehost-rollout")
    told = {
        one.panel["title"]: {series.name: pytest.approx(series.last, abs=0.01) for series in one.series}
        for one in asked(board, Prometheus(server.url), Span(now - 60, now, 1), VARIABLES, 1)
    }
    assert told["Verdict"] == {"verdict": 2}
    assert told["Evidence that it is worse"] == {"fast/whole": 1.04, "fast/first": 0}
    assert told["Evidence that it is no worse"] == {"fast/whole": 0.5}
    assert told["Sessions of the candidate, and how many it takes"] == {"judged": 102}


def test_the_command_draws_what_was_scraped(server: PrometheusProcess, tmp_path: Path) -> None:
    target = tmp_path / "role.svg"
    given = [f"--var={name}={VARIABLES[name]}" for name in ("tenant", "role")]
    told = ["--prometheus", server.url, "--minutes", "5", "--scrape", "1", "--out", str(target)]
    assert main([*told, "--board", "role", *given]) == 0
    assert ">42</text>" in target.read_text(encoding="utf-8")
    assert main([*told, "--board", "platform"]) == 0
    assert ">4.71 K</text>" in target.read_text(encoding="utf-8")


def test_the_command_says_what_is_missing(
    server: PrometheusProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--prometheus", server.url, "--out", str(tmp_path / "role.svg"), "--board", "role"]
    assert main([*told, "--var", "tenant=acme"]) == 2
    assert "--var role" in capsys.readouterr().err
    assert main([*told, "--var", "tenant=acme", "--var", "color=red"]) == 2
    dead = ["--prometheus", "http://127.0.0.1:9", *told[2:]]
    assert main([*dead, "--var", "tenant=acme", "--var", "role=cat"]) == 1
    assert not (tmp_path / "role.svg").exists()
