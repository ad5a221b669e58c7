"""A whole gateway behind a link that loses real packets (tests/net): what is told there, and what is freed."""

import asyncio
import subprocess
import sys
import time

import pytest
from tests.bench.impaired import GRPC, Said, world
from tests.net.impair import Impaired, available, has_netem
from tests.support.proof import SOAK

WHY = available() or ("" if SOAK else "a proof of a minute: ROLEHOST_PROOF=soak")
BENCH = "tests.bench.impaired"


@pytest.mark.skipif(bool(WHY), reason=WHY)
@pytest.mark.timeout(180)
async def test_nothing_is_lost_over_lost_packets_and_a_half_open_client_frees_its_place() -> None:
    with Impaired(seed=11) as link:
        async with world(link) as (served, _):
            first = link.far([sys.executable, "-m", BENCH, "changes", "1", "first"], stdout=subprocess.DEVNULL)
            await asyncio.to_thread(first.wait)
            near = Said(link.near([sys.executable, "-m", BENCH, "client"], stdout=subprocess.PIPE, text=True))
            await near.line(ready="socket")
            await near.line(by="watcher")
            link.set(delay_ms=40, jitter_ms=20, loss=0.05)
            since = time.monotonic()
            made = link.far([sys.executable, "-m", BENCH, "changes", "40", "calm"], stdout=subprocess.DEVNULL)
            await asyncio.to_thread(made.wait)
            await near.line(version=41, by="socket")
            await near.line(version=41, by="watcher")
            for by in ("socket", "watcher"):
                versions = [line["version"] for line in near.lines if line.get("by") == by and line["at"] >= since]
                assert versions == list(range(2, 42)), by
            link.set(delay_ms=40, block=GRPC)
            blocked = time.monotonic()
            degraded = await near.line(blocked, mode="ws+poll")
            assert degraded["at"] - blocked < 15
            link.hole(True)
            gone = time.monotonic()
            freed = await served.line(gone, connections=0)
            assert freed["at"] - gone < 40, "F43"


@pytest.mark.skipif(not has_netem(), reason="this kernel has no netem")
@pytest.mark.skipif(bool(WHY), reason=WHY)
def test_the_link_loses_as_many_packets_as_netem_does() -> None:
    """Where the kernel can do the same, its loss over 5,000 packets is within a third of the link's."""
    count = "import socket,sys;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);"
    hear = count + "s.bind(('0.0.0.0',9));s.settimeout(2);n=0\ntry:\n while s.recv(9):n+=1\nexcept OSError:print(n)"
    speak = count + "import time\nfor _ in range(5000):s.sendto(b'x',('10.99.0.2',9));time.sleep(0.0004)"
    heard = []
    for netem in (False, True):
        with Impaired(seed=5) as link:
            if netem:
                link.near(["tc", "qdisc", "add", "dev", "link0", "root", "netem", "loss", "5%"]).wait()
            else:
                link.set(loss=0.05)
            ear = link.far([sys.executable, "-c", hear], stdout=subprocess.PIPE, text=True)
            time.sleep(0.5)
            link.near([sys.executable, "-c", speak]).wait()
            heard.append(5000 - int(ear.communicate()[0]))
    assert abs(heard[0] - heard[1]) < 0.33 * max(heard)
