"""How a process is, as a scraper reads it."""

import asyncio
import gc
import time

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from rolehost_api.vitals import Vitals


def _value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    found = registry.get_sample_value(name, labels)
    assert found is not None, name
    return found


async def test_a_loop_that_is_held_up_is_seen_to_lag() -> None:
    registry = CollectorRegistry()
    vitals = Vitals(registry)
    vitals._looked(time.monotonic() - 0.3)  # a timer that was due so long ago
    try:
        assert _value(registry, "rolehost_event_loop_lag_seconds_sum") >= 0.3
        assert _value(registry, "rolehost_event_loop_lag_seconds_bucket", le="0.25") == 0
        assert _value(registry, "rolehost_event_loop_lag_seconds_count") == 1
    finally:
        assert vitals._handle is not None
        vitals._handle.cancel()


async def test_looks_for_garbage_are_counted_by_generation_while_it_lives() -> None:
    registry = CollectorRegistry()
    vitals = Vitals(registry)
    before = len(gc.callbacks)
    vitals.start()
    vitals.start()
    gc.collect()
    assert _value(registry, "rolehost_gc_pause_seconds_count", generation="2") == 1
    vitals.stop()
    vitals.stop()
    assert len(gc.callbacks) == before
    gc.collect()
    assert _value(registry, "rolehost_gc_pause_seconds_count", generation="2") == 1
    await asyncio.sleep(0)


async def test_garbage_in_the_middle_of_a_scrape_waits_for_nobody() -> None:
    registry = CollectorRegistry()
    vitals = Vitals(registry)
    vitals.start()
    gc.set_threshold(1, *(threshold := gc.get_threshold())[1:])
    try:
        assert b"rolehost_gc_pause_seconds_bucket" in generate_latest(registry)
    finally:
        gc.set_threshold(*threshold)
        vitals.stop()


def test_openmetrics_takes_all_of_it() -> None:
    registry = CollectorRegistry()
    Vitals(registry)
    told = openmetrics(registry).decode()  # type: ignore[no-untyped-call]
    names = {one.name for one in text_string_to_metric_families(told)}  # type: ignore[no-untyped-call]
    assert {
        "rolehost_event_loop_lag_seconds",
        "rolehost_gc_pause_seconds",
        "rolehost_gc_unreachable_objects",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_cpu_seconds",
    } <= names
