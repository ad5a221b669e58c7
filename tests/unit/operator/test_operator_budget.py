"""A sandbox pod's memory is enough for what lives in it, whatever the logic does."""

from itertools import pairwise

import msgspec
import pytest

from rolehost_api.bundle import MAX_UNPACKED
from rolehost_api.crd.role import Resources
from rolehost_api.crd.schema import structural
from rolehost_api.link.messages import Bind
from rolehost_operator.desired.budget import AT_REST, WORKER_AT_REST, WORKERS, budget

BOUNDS = structural(Resources)["properties"]["memoryMebibytes"]
STARTS_A_THREAD = 48
"""MiB of address space that a worker took under gVisor to import much of the standard library and start a thread."""


@pytest.mark.parametrize("pod", [BOUNDS["minimum"], 257, 300, 511, 512, 513, 1023, 4096, BOUNDS["maximum"]])
def test_all_that_lives_in_a_pod_fits_into_it(pod: int) -> None:
    share = budget(pod)
    assert AT_REST + share.scratch + share.states + WORKERS * (share.worker - WORKER_AT_REST) <= pod
    assert share.worker > STARTS_A_THREAD


def test_it_counts_on_the_workers_that_a_pod_is_told_to_have_the_spare_and_the_one_apart() -> None:
    [workers] = [field.default for field in msgspec.structs.fields(Bind) if field.name == "max_workers"]
    assert workers + 2 == WORKERS


def test_the_largest_bundle_fits_where_no_memory_was_asked_for() -> None:
    assert budget(Resources().memory_mebibytes).scratch << 20 > MAX_UNPACKED


def test_more_memory_never_gives_anyone_less() -> None:
    shares = [budget(pod) for pod in range(BOUNDS["minimum"], 2048)]
    for less, more in pairwise(shares):
        # What the others take on the way to their most may cost a worker one MiB.
        assert more.scratch >= less.scratch
        assert more.states >= less.states
        assert more.worker >= less.worker - 1
