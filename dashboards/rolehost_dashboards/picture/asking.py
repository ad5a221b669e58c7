"""The only part that speaks with anybody: Prometheus' HTTP API, and Chromium for a PNG."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from rolehost_dashboards.picture.data import Series, Span, filled, onsets, read
from rolehost_dashboards.picture.panel import Drawn

TIMEOUT_SECONDS = 30
MAX_BYTES = 16 << 20
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


class NotAnswered(Exception):
    """Prometheus did not answer, or refused the query; the message says which and why."""


class Prometheus:
    """Of one address, e.g. http://127.0.0.1:9090."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise NotAnswered(f"{url} is no address of a Prometheus: http://… is meant")
        self._url = url.rstrip("/")

    def range(self, query: str, span: Span, legend: str) -> list[Series]:
        """Raises NotAnswered."""
        asked = {"query": query, "start": span.begin, "end": span.end, "step": span.step}
        return read(self._ask("query_range", asked), legend)

    def now(self, query: str, at: float, legend: str) -> list[Series]:
        """Raises NotAnswered."""
        return read(self._ask("query", {"query": query, "time": at}), legend)

    def _ask(self, what: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        address = f"{self._url}/api/v1/{what}?{urlencode(asked)}"
        try:
            with urlopen(address, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - the scheme was looked at
                told = json.loads(answer.read(MAX_BYTES))
        except HTTPError as error:
            raise NotAnswered(f"{asked['query']}: {_why(error)}") from None
        except (URLError, TimeoutError, ValueError) as error:
            raise NotAnswered(f"{self._url}: {error}") from None
        found: Mapping[str, Any] = told["data"]
        return found


def asked(
    board: Mapping[str, Any], prometheus: Prometheus, span: Span, variables: Mapping[str, str], scrape_seconds: float
) -> list[Drawn]:
    """Each panel with its data. Raises NotAnswered, and KeyError for a variable that nobody gave."""
    marks = _marks(board, prometheus, span, variables, scrape_seconds)
    return [
        _panel(panel, prometheus, span, variables, scrape_seconds, marks)
        for panel in board["panels"]
        if panel["type"] != "row"
    ]


def png(svg: Path, target: Path, width: int, height: int) -> bool:
    """False where there is no Chromium."""
    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if program is None:
        return False
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(  # noqa: S603
            [
                program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}",
                f"--window-size={width},{height}", f"--screenshot={target.resolve()}", svg.resolve().as_uri(),
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    return target.is_file()


def _panel(
    panel: Mapping[str, Any],
    prometheus: Prometheus,
    span: Span,
    variables: Mapping[str, str],
    scrape_seconds: float,
    marks: Sequence[float],
) -> Drawn:
    by_query: list[list[Series]] = []
    for target in panel["targets"]:
        query = filled(target["expr"], variables, span, scrape_seconds)
        if panel["type"] == "table":
            by_query.append(prometheus.now(query, span.end, target["legendFormat"]))
        else:
            by_query.append(prometheus.range(query, span, target["legendFormat"]))
    series = [one for found in by_query for one in found if not one.is_empty]
    return Drawn(panel, series, span, marks, by_query)


def _marks(
    board: Mapping[str, Any], prometheus: Prometheus, span: Span, variables: Mapping[str, str], scrape_seconds: float
) -> list[float]:
    found: list[float] = []
    for note in board["annotations"].get("list", ()):
        query = filled(note["expr"], variables, span, scrape_seconds)
        found += [at for at, _ in onsets(prometheus.range(query, span, ""), 2 * span.step) if at > span.begin]
    return found


def _why(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read(4096))["error"])
    except (ValueError, KeyError):
        return f"HTTP {error.code}"
