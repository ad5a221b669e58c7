"""What the operator knows of a rollout, with a real Prometheus between it and what gateways export."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support.prometheus import Exporter, PrometheusProcess

from rolehost_operator.evidence import analyses, prometheus
from rolehost_operator.evidence.analyses import Analyses
from rolehost_operator.evidence.prometheus import Prometheus, Unanswered
from rolehost_operator.observed import Key, RoleSeen, read_role
from rolehost_operator.rollout.evidence import Evidence
from rolehost_operator.telemetry import Metrics

TENANT = "acme"
METRIC = {"name": "sad", "promQL": 'max(sad{revision="$candidate"})', "max": "0.5", "failureLimit": 3}


@pytest.fixture(scope="module")
def gateways() -> Iterator[tuple[Exporter, Exporter]]:
    made = Exporter(), Exporter()
    yield made
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def server(
    gateways: tuple[Exporter, Exporter], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusProcess]:
    """Scrapes both gateways each second, and the second one twice."""
    first, second = gateways
    jobs = {"gateways": [first.address, second.address], "again": [second.address]}
    started = PrometheusProcess(tmp_path_factory.mktemp("prometheus"), jobs)
    started.start()
    yield started
    started.kill()


def role(
    name: str, *, rollout: str = "r1", begun: datetime | None = None, metrics: tuple[dict[str, Any], ...] = ()
) -> RoleSeen:
    since = (begun or datetime.now(UTC)).isoformat()
    status = {
        "id": rollout,
        "stage": "Stepping",
        "revision": f"{name}-new",
        "previous": f"{name}-old",
        "startedAt": since,
        "stepStartedAt": since,
    }
    return read_role(
        {
            "metadata": {"name": name, "namespace": TENANT},
            "spec": {
                "template": {"persona": {"system": "You are a cat."}},
                "rollout": {"analysis": {"intervalSeconds": 1, "metrics": list(metrics)}},
            },
            "status": {"rollout": status},
        }
    )


def counter(name: str, outcome: str = "good", rollout: str = "r1", tenant: str = TENANT) -> str:
    return (
        f'rolehost_rollout_sessions_total{{tenant="{tenant}",role="{name}",rollout="{rollout}",epoch="0",revision="{name}-new",'
        f'arm="Candidate",percent="5",known="user",objective="turn-success",stratum="first",outcome="{outcome}"}}'
    )


def pulse(name: str) -> str:
    return f'rolehost_slo_target{{tenant="{TENANT}",role="{name}",objective="turn-success"}}'


def good(said: Evidence) -> int:
    return sum(tally.good for cohort in said.cohorts for tally in cohort.tallies.values())


class Looker:
    """What the shell does with the looks: it notes who was rung."""

    def __init__(self, url: str, *roles: RoleSeen) -> None:
        self.roles = {(one.meta.namespace, one.meta.name): one for one in roles}
        self.rung: list[Key] = []
        self.metrics = Metrics()
        self.analyses = Analyses(Prometheus(url), lambda: self.roles.items(), self.rung.append, self.metrics)
        self.analyses.leading = True

    def said(self, name: str) -> Evidence:
        seen = self.roles[TENANT, name].status.rollout
        assert seen is not None
        return self.analyses.evidence_of((TENANT, name), seen.id)

    async def until(self, name: str, check: Callable[[Evidence], Any], what: str, seconds: float = 15.0) -> Evidence:
        deadline = time.monotonic() + seconds
        while not check(self.said(name)):
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}; last: {self.said(name)}"
            await asyncio.sleep(0.05)
        return self.said(name)

    def outcomes(self, outcome: str) -> float:
        return (
            self.metrics.registry.get_sample_value("rolehost_operator_analysis_looks_total", {"outcome": outcome}) or 0
        )


@asynccontextmanager
async def looking(url: str, *roles: RoleSeen) -> AsyncIterator[Looker]:
    made = Looker(url, *roles)
    task = asyncio.create_task(made.analyses.keep())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def counts_of_all_gateways_arrive_and_the_role_is_rung(
    server: PrometheusProcess, gateways: tuple[Exporter, Exporter]
) -> None:
    first, _ = gateways
    first.series |= {counter("cat"): 3, counter("cat", "bad"): 1, counter("cat", tenant="other"): 50}
    async with looking(server.url, role("cat")) as looker:
        said = await looker.until("cat", lambda said: good(said) == 3, "three good ones")
        assert (TENANT, "cat") in looker.rung
        assert said.missing == ""
        first.series |= {counter("cat"): 5}
        await looker.until("cat", lambda said: good(said) == 5, "two more")
        first.series |= {counter("cat"): 2}  # the process began anew
        await looker.until("cat", lambda said: good(said) == 7, "two after a restart")
        assert looker.outcomes("good") >= 3
        # An operator that begins anew reads all of it again, the restart included.
        async with looking(server.url, role("cat", begun=datetime.now(UTC) - timedelta(minutes=1))) as next_one:
            await next_one.until("cat", lambda said: good(said) == 7, "the same from the beginning")


async def no_session_yet_is_evidence_and_no_gateway_is_none(
    server: PrometheusProcess, gateways: tuple[Exporter, Exporter]
) -> None:
    gateways[0].series |= {pulse("idle"): 0.99}
    async with looking(server.url, role("idle"), role("nobody")) as looker:
        said = await looker.until("idle", lambda said: said.at is not None and not said.missing, "a pulse")
        assert said.cohorts == ()
        await looker.until("nobody", lambda said: said.missing == "NoSeries", "nothing at all")


async def a_gateway_that_is_scraped_twice_is_told_and_counted_once(
    server: PrometheusProcess, gateways: tuple[Exporter, Exporter]
) -> None:
    gateways[1].series |= {counter("twin"): 4}
    async with looking(server.url, role("twin")) as looker:
        said = await looker.until("twin", lambda said: said.missing == "DuplicateSeries", "two series")
        assert good(said) == 4
        assert "job" in said.detail


async def a_counter_that_is_no_number_is_told(server: PrometheusProcess, gateways: tuple[Exporter, Exporter]) -> None:
    gateways[0].series |= {counter("nan"): "NaN"}
    async with looking(server.url, role("nan")) as looker:
        await looker.until("nan", lambda said: said.missing == "BadSample", "NaN is named")


async def gateways_that_vanish_make_it_stale_and_keep_what_they_counted(
    server: PrometheusProcess, gateways: tuple[Exporter, Exporter]
) -> None:
    gateways[0].series |= {counter("gone"): 6}
    async with looking(server.url, role("gone")) as looker:
        first = await looker.until("gone", lambda said: good(said) == 6 and not said.missing, "six")
        await looker.until("gone", lambda said: said.at != first.at, "and again, so that it is known how often")
        del gateways[0].series[counter("gone")]
        said = await looker.until("gone", lambda said: said.missing == "StaleSamples", "its samples are old")
        assert good(said) == 6


async def custom_metrics_are_read_on_a_grid_and_of_the_own_tenant_only(
    server: PrometheusProcess, gateways: tuple[Exporter, Exporter]
) -> None:
    gateways[0].series |= {
        pulse("mood"): 0.99,
        'sad{tenant="acme",revision="mood-new"}': 0.25,
        'sad{tenant="other",revision="mood-new"}': 0.75,
        'sad{tenant="acme",revision="mood-old"}': 0.5,
        'void{tenant="acme"}': "NaN",
    }
    odd = [
        {"name": "many", "promQL": 'sad{revision=~".+"}', "max": "1"},
        {"name": "none", "promQL": "nothing", "max": "1"},
        {"name": "nan", "promQL": "void", "max": "1"},
        {"name": "wrong", "promQL": "rate(sad)", "max": "1"},
        {"name": "all", "promQL": 'sad{tenant="other"}', "max": "1"},
        {"name": "evil", "promQL": 'sad{revision="$candidate"} or sad[5m:1s]', "max": "1"},
    ]
    seen = role("mood", begun=datetime.now(UTC) - timedelta(seconds=5), metrics=(METRIC, *odd))
    async with looking(server.url, seen) as looker:
        said = await looker.until("mood", lambda said: len(said.customs.get("sad", ())) == 3, "three samples")
    found = said.customs["sad"]
    assert [one.value for one in found] == [0.25] * 3
    assert [(later.at - earlier.at).total_seconds() for earlier, later in pairwise(found)] == [
        1.0,
        1.0,
    ]
    assert said.missing == ""
    assert set(said.metric_troubles) == {"many", "none", "nan", "wrong", "all", "evil"}
    assert "revision" in said.metric_troubles["many"]
    assert "gives nothing" in said.metric_troubles["none"]
    assert "gives nothing" in said.metric_troubles["all"]
    assert "no number" in said.metric_troubles["nan"]
    assert "range" in said.metric_troubles["wrong"]


async def clocks_ten_minutes_apart_change_nothing(
    server: PrometheusProcess, gateways: tuple[Exporter, Exporter]
) -> None:
    """The Role's status is written by a clock that is wrong; what is decided on has Prometheus' time."""
    gateways[0].series |= {counter("fast"): 8, counter("slow"): 8}
    ahead, behind = datetime.now(UTC) + timedelta(minutes=10), datetime.now(UTC) - timedelta(minutes=10)
    async with looking(server.url, role("fast", begun=ahead), role("slow", begun=behind)) as looker:
        for name in ("fast", "slow"):
            said = await looker.until(name, lambda said: good(said) == 8, "eight")
            assert said.missing == ""
            assert said.at is not None
            assert abs((said.at - datetime.now(UTC)).total_seconds()) < 30


async def prometheus_is_killed_and_comes_back(mortal: PrometheusProcess, gateways: tuple[Exporter, Exporter]) -> None:
    """What was counted meanwhile is there when it is back: counters are cumulative."""
    first, _ = gateways
    await asyncio.to_thread(mortal.start)
    try:
        first.series |= {counter("phoenix"): 2}
        async with looking(mortal.url, role("phoenix")) as looker:
            await looker.until("phoenix", lambda said: good(said) == 2 and not said.missing, "two")
            await asyncio.to_thread(mortal.kill)
            said = await looker.until("phoenix", lambda said: said.missing, "it is missing")
            assert said.missing == "PrometheusUnreachable"
            assert good(said) == 2
            first.series |= {counter("phoenix"): 9}
            await asyncio.to_thread(mortal.start)
            await looker.until("phoenix", lambda said: good(said) == 9 and not said.missing, "it goes on by itself")
            assert looker.outcomes("PrometheusUnreachable") >= 1
    finally:
        mortal.kill()


async def test_what_is_known_of_rollouts_side_by_side(
    server: PrometheusProcess, gateways: tuple[Exporter, Exporter], tmp_path: Path
) -> None:
    """At once, for each waits mostly for the next scrape; a traceback names the one that failed."""
    mortal = PrometheusProcess(tmp_path, {"gateways": [gateways[0].address]})
    await asyncio.gather(
        prometheus_is_killed_and_comes_back(mortal, gateways),
        *(
            one(server, gateways)
            for one in (
                counts_of_all_gateways_arrive_and_the_role_is_rung,
                no_session_yet_is_evidence_and_no_gateway_is_none,
                a_gateway_that_is_scraped_twice_is_told_and_counted_once,
                a_counter_that_is_no_number_is_told,
                gateways_that_vanish_make_it_stale_and_keep_what_they_counted,
                custom_metrics_are_read_on_a_grid_and_of_the_own_tenant_only,
                clocks_ten_minutes_apart_change_nothing,
                one_roles_failure_stops_no_other,
                who_does_not_lead_asks_nothing_and_an_ended_rollout_is_forgotten,
            )
        ),
    )


# ── answers that are none ───────────────────────────────────────────────────────────

WHOLE = '{"status":"success","data":{"resultType":"scalar","result":[1,"1700000000"]}}'
BROKEN: dict[str, tuple[int, str, str]] = {
    "503": (503, "Service Unavailable", "PrometheusUnavailable"),
    "503-in-json": (503, '{"status":"error","errorType":"unavailable","error":"starting"}', "PrometheusUnavailable"),
    "401": (401, "who are you", "PrometheusUnavailable"),
    "302": (302, "", "PrometheusUnavailable"),
    "half": (200, WHOLE[:40], "PrometheusGarbled"),
    "empty": (200, "", "PrometheusGarbled"),
    "html": (200, "<html>", "PrometheusGarbled"),
    "other-kind": (200, WHOLE.replace("scalar", "vector"), "PrometheusGarbled"),
    "no-number": (200, WHOLE.replace('"1700000000"', '"NaN"'), "PrometheusGarbled"),
    "not-whole": (200, WHOLE.replace("{", '{"warnings":["a store is down"],', 1), "PrometheusPartial"),
    "refused": (400, '{"status":"error","errorType":"bad_data","error":"1:3: parse error"}', "PrometheusRefused"),
    "too-slow-there": (503, '{"status":"error","errorType":"timeout","error":"query timed out"}', "PrometheusTimeout"),
    "too-large": (200, WHOLE + " " * 5000, "PrometheusAnswerTooLarge"),
    "breaks-off": (-1, WHOLE, "PrometheusGarbled"),
    "hangs": (-2, WHOLE, "PrometheusTimeout"),
}


@pytest.fixture
async def misbehaving() -> AsyncIterator[str]:
    """/<name> answers as BROKEN says; its address."""

    async def answer(request: web.Request) -> web.StreamResponse:
        status, body, _ = BROKEN[request.match_info["name"]]
        if status == -2:
            await asyncio.sleep(5)
        if status == -1:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(body.encode())
            assert request.transport is not None
            request.transport.close()
            return response
        headers = {"Location": "http://127.0.0.1:1/"} if status == 302 else {}
        return web.Response(status=status, text=body, headers=headers)

    app = web.Application()
    app.router.add_post("/{name}/api/v1/{path}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize("name", BROKEN)
async def test_an_answer_that_is_none_is_named(misbehaving: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MOST_BYTES", 2000)
    monkeypatch.setattr(prometheus, "ANSWER_SECONDS", 0.5)
    source = Prometheus(f"{misbehaving}/{name}")
    try:
        with pytest.raises(Unanswered) as caught:
            await source.now()
        assert caught.value.code == BROKEN[name][2]
    finally:
        await source.close()


async def one_roles_failure_stops_no_other(server: PrometheusProcess, gateways: tuple[Exporter, Exporter]) -> None:
    gateways[0].series |= {counter("sound"): 1}
    async with looking(server.url, role("sound"), role("broken")) as looker:
        looker.analyses._read = _fails_for("broken", looker.analyses._read)  # type: ignore[method-assign]
        await looker.until("broken", lambda said: said.missing == "AnalysisFailed", "a bug is one Role's own")
        await looker.until("sound", lambda said: good(said) == 1 and not said.missing, "the other one is looked at")


def _fails_for(name: str, inner: Any) -> Any:
    async def read(key: Key, *rest: Any) -> Any:
        if key[1] == name:
            raise ZeroDivisionError
        return await inner(key, *rest)

    return read


async def who_does_not_lead_asks_nothing_and_an_ended_rollout_is_forgotten(
    server: PrometheusProcess, gateways: tuple[Exporter, Exporter]
) -> None:
    gateways[0].series |= {counter("ended"): 1}
    async with looking(server.url, role("ended")) as looker:
        await looker.until("ended", lambda said: good(said) == 1, "one")
        looker.analyses.leading = False
        await looker.until("ended", lambda said: said.missing == "NotLookedYet", "nothing is kept")
        assert looker.metrics.registry.get_sample_value("rolehost_operator_analyses") == 0


def test_without_a_prometheus_it_says_what_to_do() -> None:
    said = Analyses(None, lambda: (), lambda _: None, Metrics()).evidence_of((TENANT, "cat"), "r1")
    assert said.missing == "PrometheusNotConfigured"
    assert "prometheus.url" in said.detail


def test_looks_are_bounded() -> None:
    assert analyses.AT_ONCE * prometheus.MOST_BYTES <= 256 * 2**20
