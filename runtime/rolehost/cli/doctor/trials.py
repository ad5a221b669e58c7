"""Makes the pods that try the walls, waits for what they say, and takes everything away again."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from rolehost.cli.doctor.api import Answer, Api, refusal
from rolehost.cli.doctor.clocks import seconds
from rolehost.cli.doctor.objects import DOCTOR, NAME, client_pod, kernel_pod, policies, server_pod
from rolehost.cli.doctor.walls import Trial

POLL_SECONDS = 0.2
LOG_SECONDS = 3.0
"""A pod that has ended is waited for so much longer, for its log: where it ended late, both come late."""
STALE_SECONDS = 120
"""What an earlier run left (it was killed outright) is swept when it is this old."""
AT_ONCE = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
Pod = Mapping[str, Any]


class Trials:
    """One run's pods and policies in one namespace."""

    def __init__(self, api: Api, namespace: str, run: str, image: str, pull: str, deadline: float) -> None:
        """`deadline`: by time.monotonic(), when a pod that has said nothing is given up."""
        self._api, self._run, self._image, self._pull, self._deadline = api, run, image, pull, deadline
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._policies = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
        self._events = f"/api/v1/namespaces/{namespace}/events"
        self._made: set[str] = set()
        self._making: set[asyncio.Task[Answer]] = set()

    async def kernel(self) -> Trial:
        """A pod under gVisor, and what it says of its kernel."""
        return await self._told(kernel_pod(self._run, self._image, self._pull))

    async def network(self) -> tuple[Trial, Trial]:
        """Server and client: the policies stand before either of them."""
        for policy in policies(self._run):
            if (answer := await self._make(self._policies, policy)).status != 201:
                return _never(answer), Trial()
        pod = server_pod(self._run, self._image, self._pull)
        if (answer := await self._make(self._pods, pod)).status != 201:
            return _never(answer), Trial()
        name = pod["metadata"]["name"]
        seen = await self._seen(name, lambda pod: bool(_status(pod).get("podIP")))
        address = str(_status(seen).get("podIP") or "")
        if not address:
            return Trial(pod=seen, warning=await self._warning(name)), Trial()
        return Trial(pod=seen), await self._told(client_pod(self._run, self._image, self._pull, address))

    async def _told(self, pod: Pod) -> Trial:
        name = str(pod["metadata"]["name"])
        if (answer := await self._make(self._pods, pod)).status != 201:
            return _never(answer)
        seen = await self._seen(name, lambda _: False)
        said = await self._said(name) if finished(seen) else None
        return Trial(said=said, pod=seen, warning="" if said is not None else await self._warning(name))

    async def _said(self, name: str) -> dict[str, Any] | None:
        """What a pod that has ended printed last: on a busy node its log may come later than its end."""
        deadline = max(self._deadline, time.monotonic() + LOG_SECONDS)
        while True:
            log = await self._api.ask("GET", f"{self._pods}/{name}/log?limitBytes=65536")
            said = last_line(log.body) if log.status == 200 else None
            if said is not None or time.monotonic() >= deadline:
                return said
            await asyncio.sleep(POLL_SECONDS)

    async def _make(self, where: str, wanted: Mapping[str, Any]) -> Answer:
        """Once asked for it is waited for, even when we are told to stop: else it might come after our clearing up."""
        self._made.add(f"{where}/{wanted['metadata']['name']}")
        making = asyncio.create_task(self._api.ask("POST", where, wanted))
        self._making.add(making)
        making.add_done_callback(self._making.discard)
        return await asyncio.shield(making)

    async def _seen(self, name: str, enough: Callable[[Pod], bool]) -> Pod:
        """The pod when it is as wanted or has ended, or as it was at the deadline."""
        pod: Pod = {}
        while True:
            answer = await self._api.ask("GET", f"{self._pods}/{name}")
            if answer.status == 200:
                pod = answer.body
            ended = _status(pod).get("phase") == "Failed" or finished(pod)
            if ended or enough(pod) or time.monotonic() >= self._deadline:
                return pod
            await asyncio.sleep(POLL_SECONDS)

    async def _warning(self, name: str) -> str:
        seen = await self._api.see(f"{self._events}?fieldSelector=involvedObject.name%3D{name}%2Ctype%3DWarning")
        items = (seen.value or {}).get("items") or ()
        told = sorted(items, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
        return str(told[-1].get("message", "")) if told else ""

    async def clear(self) -> None:
        """Take away what this run made, and what an earlier one had to leave. Never raises."""
        await asyncio.gather(*self._making, return_exceptions=True)
        now = time.time() + (self._api.ahead.middle if self._api.ahead else 0.0)
        for where in (self._pods, self._policies):
            seen = await self._api.see(f"{where}?labelSelector=app.kubernetes.io%2Fname%3D{NAME}&limit=500")
            items = (seen.value or {}).get("items") or ()
            self._made |= {f"{where}/{one['metadata']['name']}" for one in items if ours(one, self._run, now)}
        await asyncio.gather(*(self._api.ask("DELETE", path, AT_ONCE) for path in self._made))


def finished(pod: Pod) -> bool:
    """Whether all its containers ended well; its phase says so only some time later.

    >>> well, badly = ({"state": {"terminated": {"exitCode": code}}} for code in (0, 1))
    >>> [finished({"status": {"containerStatuses": [well, one]}}) for one in (well, badly, {"state": {"running": {}}})]
    [True, False, False]
    >>> finished({"status": {"phase": "Succeeded"}}), finished({})
    (True, False)
    """
    status = _status(pod)
    ends = [(one.get("state") or {}).get("terminated") for one in status.get("containerStatuses") or ()]
    return status.get("phase") == "Succeeded" or (bool(ends) and all(end and not end.get("exitCode") for end in ends))


def ours(item: Mapping[str, Any], run: str, now: float) -> bool:
    """Whether this run may take an object of the doctor's away.

    >>> old = {"metadata": {"labels": {"rolehost.io/doctor": "a"}, "creationTimestamp": "2030-01-01T00:00:00Z"}}
    >>> made = 1893456000.0
    >>> ours(old, "a", made), ours(old, "b", made + 60), ours(old, "b", made + 120)
    (True, False, True)
    """
    labels = item["metadata"].get("labels") or {}
    if labels.get(DOCTOR) == run:
        return True
    made = seconds(item["metadata"].get("creationTimestamp") or "")
    return DOCTOR in labels and made is not None and now - made >= STALE_SECONDS


def last_line(text: object) -> dict[str, Any] | None:
    """The JSON object that a pod printed last; None where it printed something else.

    >>> last_line('warning\\n{"gvisor": true}\\n'), last_line("Killed")
    ({'gvisor': True}, None)
    """
    lines = str(text).strip().splitlines() if not isinstance(text, Mapping) else [json.dumps(text)]
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _status(pod: Pod) -> Mapping[str, Any]:
    found: Mapping[str, Any] = pod.get("status") or {}
    return found


def _never(answer: Answer) -> Trial:
    seen = refusal(answer)
    return Trial(refused=seen.refused, forbidden=seen.forbidden)
