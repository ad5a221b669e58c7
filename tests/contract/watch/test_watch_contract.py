"""One suite for ListWatch, against the real apiserver and against our fake of one: what the fake
claims about listing and watching is then true."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest
from tests.support.apiserver import ApiServer
from tests.support.fakeapi import FakeApi, fake_api

from rolehost_api.crd.common import ObjectMeta
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.watch.api import Access, Api, from_kubeconfig
from rolehost_runtime.gateway.watch.listwatch import ListWatch
from rolehost_runtime.gateway.watch.views import ConfigMapView

WAIT = 20


class Server(Protocol):
    access: Access
    path: str
    labels: str

    async def put(self, name: str, text: str) -> None: ...
    async def remove(self, name: str) -> None: ...


class Fake:
    path, labels = "/api/v1/namespaces/ns/configmaps", "watched=yes"

    def __init__(self, api: FakeApi) -> None:
        self._api = api
        self.access = api.access

    async def put(self, name: str, text: str) -> None:
        self._api.put(name, data={"text": text})

    async def remove(self, name: str) -> None:
        self._api.remove(name)


class Real:
    labels = "watched=yes"

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self._server, self._namespace = server, namespace
        self.access = from_kubeconfig(server.kubeconfig)
        self.path = f"/api/v1/namespaces/{namespace}/configmaps"

    async def put(self, name: str, text: str) -> None:
        meta = {"name": name, "namespace": self._namespace, "labels": {"watched": "yes"}}
        item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"text": text}}
        await asyncio.to_thread(self._server.apply, item)

    async def remove(self, name: str) -> None:
        await asyncio.to_thread(self._server.kubectl, "-n", self._namespace, "delete", "configmap", name)


@pytest.fixture(params=["fake", "real"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    if request.param == "fake":
        async with fake_api() as api:
            yield Fake(api)
    else:
        apiserver: ApiServer = request.getfixturevalue("apiserver")
        yield Real(apiserver, await asyncio.to_thread(apiserver.namespace, "watch"))


class Seen:
    """Implements listwatch.Sink, and tells when it holds what is hoped for."""

    def __init__(self) -> None:
        self.now: dict[str, str] = {}
        self.listings = 0
        self._news = asyncio.Event()

    def replace(self, objects: list[ConfigMapView]) -> None:
        self.listings += 1
        self.now = {item.metadata.name: item.data.get("text", "") for item in objects}
        self._news.set()

    def put(self, item: ConfigMapView) -> None:
        self.now[item.metadata.name] = item.data.get("text", "")
        self._news.set()

    def drop(self, meta: ObjectMeta) -> None:
        self.now.pop(meta.name, None)
        self._news.set()

    async def becomes(self, expected: dict[str, str]) -> None:
        async with asyncio.timeout(WAIT):
            while self.now != expected:
                self._news.clear()
                await self._news.wait()


async def test_a_listing_then_every_change(server: Server) -> None:
    await server.put("before", "1")
    seen = Seen()
    async with Api(server.access) as api:
        watch = ListWatch(api, server.path, ConfigMapView, seen, Metrics(), labels=server.labels)
        running = asyncio.create_task(watch.run())
        try:
            await seen.becomes({"before": "1"})
            await server.put("after", "1")
            await seen.becomes({"before": "1", "after": "1"})
            await server.put("after", "2")
            await seen.becomes({"before": "1", "after": "2"})
            await server.remove("before")
            await seen.becomes({"after": "2"})
            assert seen.listings == 1
        finally:
            running.cancel()


async def test_silence_is_not_a_failure_and_loses_nothing(server: Server) -> None:
    seen, metrics = Seen(), Metrics()
    async with Api(server.access) as api:
        watch = ListWatch(api, server.path, ConfigMapView, seen, metrics, labels=server.labels, read_seconds=0.2)
        running = asyncio.create_task(watch.run())
        try:
            for number in range(3):
                await server.put(f"c{number}", "1")
                await asyncio.sleep(0.5)  # several watches end by silence in between
            await seen.becomes({"c0": "1", "c1": "1", "c2": "1"})
            assert seen.listings == 1
            assert metrics.watch_failures.labels("configmaps")._value.get() == 0
        finally:
            running.cancel()


async def test_a_place_in_history_that_is_not_known_is_left_for_a_new_listing(server: Server) -> None:
    await server.put("here", "1")
    seen = Seen()
    async with Api(server.access) as api:
        watch = ListWatch(api, server.path, ConfigMapView, seen, Metrics(), labels=server.labels)
        watch._version = "1"
        if isinstance(server, Fake):
            server._api.oldest = 50
        running = asyncio.create_task(watch.run())
        try:
            await seen.becomes({"here": "1"})
        finally:
            running.cancel()


async def test_long_listings_come_in_pages(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolehost_runtime.gateway.watch.listwatch.PAGE", 2)
    expected = {f"c{number}": f"text {number}" for number in range(5)}
    for name, text in expected.items():
        await server.put(name, text)
    seen = Seen()
    async with Api(server.access) as api:
        watch = ListWatch(api, server.path, ConfigMapView, seen, Metrics(), labels=server.labels)
        running = asyncio.create_task(watch.run())
        try:
            await seen.becomes(expected)
        finally:
            running.cancel()


# ── what only the fake does on demand ───────────────────────────────────────────────


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    async with fake_api() as api:
        yield api


class Running:
    def __init__(self, fake: FakeApi, api: Api) -> None:
        self.seen, self.metrics, self.pauses = Seen(), Metrics(), list[float]()
        self.fake = fake

        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)

        self.watch = ListWatch(
            api, Fake.path, ConfigMapView, self.seen, self.metrics, labels="a=b", fields="c=d", pause=pause,
            chance=lambda: 0.5,
        )  # fmt: skip
        self.task = asyncio.create_task(self.watch.run())


@pytest.fixture
async def running(fake: FakeApi) -> AsyncIterator[Running]:
    async with Api(fake.access) as api:
        run = Running(fake, api)
        yield run
        run.task.cancel()


async def test_a_cut_watch_goes_on_where_it_was(running: Running) -> None:
    running.fake.put("one")
    await running.seen.becomes({"one": ""})
    running.fake.cut()
    running.fake.put("two")
    await running.seen.becomes({"one": "", "two": ""})
    assert running.seen.listings == 1


async def test_a_410_in_mid_stream_lists_anew(running: Running) -> None:
    running.fake.put("one")
    await running.seen.becomes({"one": ""})
    running.fake.objects["missed"] = {"metadata": {"name": "missed"}}
    running.fake.say(json.dumps({"type": "ERROR", "object": {"code": 410, "message": "too old"}}).encode())
    await running.seen.becomes({"one": "", "missed": ""})
    assert running.seen.listings == 2


@pytest.mark.parametrize(
    "line", [b"{", b'{"type": "ADDED"}', b'{"type": "ERROR", "object": {"code": 500}}', b'{"type":"ADDED","object":{}}']
)
async def test_a_line_that_is_no_event_breaks_the_watch_and_no_more(running: Running, line: bytes) -> None:
    running.fake.put("one")
    await running.seen.becomes({"one": ""})
    running.fake.say(line)
    running.fake.put("two")
    await running.seen.becomes({"one": "", "two": ""})


async def test_a_bad_object_is_skipped_and_named_and_keeps_what_was_known(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.fake.put("good", data={"text": "1"})
    await running.seen.becomes({"good": "1"})
    running.fake.put("bad", data={"text": {"secret": 1}})
    running.fake.put("good", data="secret")
    running.fake.put("other", data={"text": "2"})
    await running.seen.becomes({"good": "1", "other": "2"})
    assert running.metrics.watch_skipped.labels("configmaps")._value.get() == 2
    assert "ns/bad" in caplog.text
    assert "secret" not in caplog.text


async def test_refusals_are_tried_again_ever_more_slowly(fake: FakeApi, caplog: pytest.LogCaptureFixture) -> None:
    fake.answers = [403, 500, 429, 503]
    async with Api(fake.access) as api:
        run = Running(fake, api)
        fake.put("one")
        await run.seen.becomes({"one": ""})
        run.task.cancel()
    assert run.pauses == pytest.approx([0.15, 0.3, 0.6, 1.2])
    assert "secret" not in caplog.text


async def test_a_history_that_is_always_gone_does_not_spin(fake: FakeApi) -> None:
    fake.oldest = 10**9
    async with Api(fake.access) as api:
        run = Running(fake, api)
        async with asyncio.timeout(WAIT):
            while len(run.pauses) < 5:
                await asyncio.sleep(0)
        run.task.cancel()
    assert run.pauses == sorted(run.pauses)
    assert run.pauses[-1] > run.pauses[0]


async def test_a_bookmark_moves_the_place_and_selectors_are_sent(running: Running) -> None:
    running.fake.put("one")
    await running.seen.becomes({"one": ""})
    running.fake.bookmark()
    version = running.fake.version
    async with asyncio.timeout(WAIT):
        while running.watch._version != str(version):
            await asyncio.sleep(0)
    running.fake.cut()
    running.fake.put("two")
    await running.seen.becomes({"one": "", "two": ""})
    last: dict[str, Any] = running.fake.requests[-1]
    assert (last["resourceVersion"], last["labelSelector"], last["fieldSelector"]) == (str(version), "a=b", "c=d")
    assert last["timeoutSeconds"] == "300"
