"""Whether another tenant's series are there or not, a tenant's query is answered alike: asked of a real Prometheus.

Two of them hold the same samples of one tenant; the second one holds another tenant's, too.
"""

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.prometheus import PrometheusProcess
from tests.support.promql import NAMES, expressions, hostile
from tests.support.proof import SOAK

from rolehost_api.promql import InvalidQuery, confined

BEGUN = 1_700_006_400
NAMES_OF_SERIES = ("x", "y_total", "a:b", "up", "tenant", "offsets", "sumx", "other", "and", "by")


def samples(tenant: str, value: int) -> list[str]:
    return [
        f'{name}{{tenant="{tenant}",job="{job}",revision="cat-new",le="1"}} {value + minute + number} {BEGUN + 60 * minute}'
        for number, name in enumerate(NAMES_OF_SERIES)
        for job in ("a", "b")
        for minute in range(12)
    ]


def holding(folder: Path, lines: list[str]) -> PrometheusProcess:
    promtool = shutil.which("promtool")
    made = PrometheusProcess(folder, {})
    assert promtool is not None, "it comes with prometheus"
    (folder / "samples").write_text("\n".join([*lines, "# EOF\n"]))
    command = [
        promtool,
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        "-q",
        str(folder / "samples"),
        str(folder / "data"),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    made.start()
    return made


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Without the other tenant, and with it."""
    alone = holding(tmp_path_factory.mktemp("alone"), samples("acme", 10))
    both = holding(tmp_path_factory.mktemp("both"), [*samples("acme", 10), *samples("other", 1000)])
    yield alone.url, both.url
    alone.kill()
    both.kill()


def answer(url: str, query: str) -> tuple[int, Any]:
    """Status, and the data or the kind of error."""
    asked = urlencode({"query": query, "time": str(BEGUN + 600)})
    try:
        with urlopen(f"{url}/api/v1/query?{asked}", timeout=10) as said:
            result = json.loads(said.read())["data"]["result"]
            return said.status, sorted(result, key=str) if isinstance(result, list) else result
    except HTTPError as error:
        return error.code, json.loads(error.read())["errorType"]


@pytest.mark.timeout(120 if not SOAK else 1200)
def test_another_tenants_series_change_no_answer(servers: tuple[str, str]) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=5000 if SOAK else 80, suppress_health_check=list(HealthCheck))
    @given(st.booleans().flatmap(lambda good: expressions if good else hostile))
    def law(query: str) -> None:
        try:
            asked = confined(query, NAMES)
        except InvalidQuery:
            seen["refused"] += 1
            return
        alone, both = (answer(url, asked) for url in servers)
        assert alone == both, asked
        seen["numbers" if alone[0] == 200 and alone[1] else "nothing"] += 1

    law()
    assert seen["numbers"] > 5
    assert seen["refused"] > 5


@pytest.mark.parametrize(
    "query", ["x", "sum(rate(y_total[5m]))", 'count({__name__=~".+"})', "sum(and)", 'x or x{tenant="other"}']
)
def test_as_they_were_written_they_tell_of_others(servers: tuple[str, str], query: str) -> None:
    """So the test above would see it."""
    alone, both = (answer(url, query) for url in servers)
    assert alone[0] == 200
    assert alone != both
