"""What sessions do behind their turns' backs is counted where Prometheus asks."""

from tests.support.edge import tables_with_storyteller
from tests.support.rooms import PodDialer, Shelves

from rolehost_runtime.core.session import Outcome, SessionFold
from rolehost_runtime.core.snapshot import EVERY_TURNS
from rolehost_runtime.gateway.app import Adapters, Gateway, Options
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore
from rolehost_runtime.gateway.edge.auth import KeyAuth


async def answers() -> bool:
    return True


async def test_snapshots_are_counted_by_their_outcome() -> None:
    tables, dialer, store = tables_with_storyteller(), PodDialer(), MemorySessionStore()
    adapters = Adapters(
        tables=tables, dialer=dialer, bundles=Shelves(), store=store, models=Models({}), auth=KeyAuth(tables.keys),
        signing_key=dialer.key, store_answers=answers,
    )  # fmt: skip
    gateway = Gateway(Options(port=0), adapters)
    snapshotting = gateway._sessions._world.snapshotting
    head, _ = await store.open("k")
    for epoch in (head.epoch, head.epoch + 1):  # ours, and one that was taken over
        fold = SessionFold(head.log_id, epoch)
        for turn in range(1, EVERY_TURNS + 1):
            opened = fold.begin("hi", revision="r", response_id=f"r{turn}", rng_seed=1, now_ms=turn)
            record = fold.propose(opened, Outcome("yes"), now_ms=turn, max_bytes=1000)
            if epoch == head.epoch:
                await store.commit("k", record)
            fold.committed()
        snapshotting.after_turn("u", "k", fold)
        await snapshotting.idle()
    for outcome in ("kept", "superseded"):
        assert gateway.metrics.registry.get_sample_value("rolehost_snapshots_total", {"outcome": outcome}) == 1
