"""What nobody watches is asked for by its name: often enough, and not for every Role."""

import asyncio
from typing import Any

import pytest
from tests.support.observing import PLATFORM, role

from rolehost_api.names import LINK_SECRET, PLATFORM_KEYS, TENANT
from rolehost_operator.kube.client import ApiError
from rolehost_operator.kube.unwatched import FRESH_SECONDS, Unwatched
from rolehost_operator.kube.world import World
from rolehost_operator.objects import KubeObject
from rolehost_operator.observed import Key

KEY = ("acme", "cat")


class Api:
    """The one verb that is needed, over objects by kind and name; notes what it was asked."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], KubeObject] = {}
        self.asked: list[str] = []
        self.refuses = False

    def put(self, kind: str, name: str, version: int) -> None:
        metadata = {"name": name, "namespace": "acme", "uid": name, "resourceVersion": str(version)}
        self.objects[kind, name] = {"metadata": metadata}

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> KubeObject | None:
        self.asked.append(f"{namespace}/{name}")
        await asyncio.sleep(0)
        if self.refuses:
            raise ApiError(f"GET {name}", 403, "Forbidden", no_right=True)
        found = self.objects.get((kind, name))
        return None if found is None else {**found, "metadata": dict(found["metadata"])}


class House:
    def __init__(self) -> None:
        self.api, self.world, self.now = Api(), World(), 1000.0
        self.rung: list[Key] = []
        raw = role()
        raw["metadata"]["resourceVersion"] = "1"
        self.space("u", 1)
        self.world.put(raw)
        client: Any = self.api
        self.unwatched = Unwatched(client, self.world, self.rung.append, lambda: self.now)

    def space(self, uid: str, version: int) -> None:
        metadata = {"name": "acme", "uid": uid, "resourceVersion": str(version), "labels": {TENANT: ""}}
        self.world.put({"kind": "Namespace", "metadata": metadata})

    async def look(self) -> KubeObject | None:
        await self.unwatched.look("acme")
        seen = self.world.observe(KEY, PLATFORM, pods=(), gateways=0, listening=False, idle_since={}, sessions={})
        assert seen is not None
        return seen.link_secret


async def test_many_roles_at_once_ask_once_and_the_first_answer_rings_nobody() -> None:
    house = House()
    house.api.put("Secret", LINK_SECRET, 5)
    found = await asyncio.gather(*(house.look() for _ in range(10)))
    assert all(found)
    assert house.api.asked == [f"acme/{LINK_SECRET}", f"acme/{PLATFORM_KEYS}"]
    assert house.rung == []


async def test_an_answer_grows_old_and_what_vanished_or_changed_is_seen_and_told() -> None:
    house = House()
    house.api.put("Secret", LINK_SECRET, 5)
    await house.look()
    del house.api.objects["Secret", LINK_SECRET]
    house.now += FRESH_SECONDS - 1
    assert await house.look() is not None
    house.now += 1
    assert await house.look() is None
    assert house.rung == [KEY]
    house.api.put("Secret", LINK_SECRET, 9)
    house.now += FRESH_SECONDS
    assert await house.look() is not None


async def test_a_refusal_is_raised_and_asked_again_at_once() -> None:
    house = House()
    house.api.refuses = True
    with pytest.raises(ApiError):
        await house.look()
    house.api.refuses = False
    house.api.put("Secret", LINK_SECRET, 5)
    assert await house.look() is not None


async def test_a_namespace_in_anothers_place_is_asked_about_at_once() -> None:
    house = House()
    house.api.put("ConfigMap", PLATFORM_KEYS, 5)
    await house.look()
    house.api.objects.clear()
    house.space("another", 2)
    await house.look()
    seen = house.world.observe(KEY, PLATFORM, pods=(), gateways=0, listening=False, idle_since={}, sessions={})
    assert seen is not None
    assert seen.platform_keys is None, "it was the former namespace's"


async def test_namespaces_without_roles_are_forgotten() -> None:
    house = House()
    await house.look()
    house.unwatched.keep(set())
    await house.look()
    assert len(house.api.asked) == 4
