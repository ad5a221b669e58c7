"""The arithmetic under every number that we print."""

import pytest
from tests.bench.harness import Round, compare, measured, percentile, ratio, table


def rounds(*latencies: float, cpu_us: float | None = 100.0) -> list[Round]:
    return [Round(units=1, latencies_ms=(one,), cpu_us=cpu_us) for one in latencies]


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_holds_the_ratio_and_the_seed_repeats_it(seed: int) -> None:
    found = ratio([2.0, 2.2, 1.8, 2.1, 1.9], [1.0, 1.1, 0.9, 1.05, 0.95], seed=seed)
    assert found.low <= found.ratio <= found.high
    assert found == ratio([2.0, 2.2, 1.8, 2.1, 1.9], [1.0, 1.1, 0.9, 1.05, 0.95], seed=seed)


def test_a_slow_moment_that_hits_both_arms_does_not_move_the_ratio() -> None:
    slow = [1.0, 1.0, 10.0, 1.0, 1.0]
    found = ratio([2 * one for one in slow], slow)
    assert (found.ratio, found.low, found.high) == (2.0, 2.0, 2.0)


def test_noise_in_one_arm_widens_the_interval() -> None:
    calm = ratio([2.0] * 7, [1.0] * 7)
    noisy = ratio([1.0, 3.0, 2.0, 1.2, 2.8, 2.0, 2.0], [1.0] * 7)
    assert noisy.high - noisy.low > calm.high - calm.low


@pytest.mark.parametrize(
    ("ours", "peer"),
    [
        pytest.param([], [], id="no-rounds"),
        pytest.param([1.0], [0.0], id="a-peer-of-nothing"),
        pytest.param([1.0, 2.0], [1.0], id="a-round-without-its-pair"),
    ],
)
def test_a_ratio_of_nothing_is_refused(ours: list[float], peer: list[float]) -> None:
    with pytest.raises(ValueError, match=r"ratio|shorter|longer"):
        ratio(ours, peer)


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile([], 50)


def test_failures_are_counted_and_never_timed() -> None:
    found = measured([Round(units=3, latencies_ms=(1.0, 2.0, 3.0), failures=2), Round(units=1, latencies_ms=(2.0,))])
    assert (found.units, found.failures, found.cpu_us_per_unit) == (4, 2, None)


def test_a_comparison_takes_the_first_other_arm_for_its_peer() -> None:
    taken = {"ours": rounds(2, 2, 2), "peer": rounds(1, 1, 1), "floor": rounds(0.5, 0.5, 0.5)}
    result = compare("question", taken, ours="ours", machine={"cores": 2})
    assert result.peer == "peer"
    assert result.ratios["p50_ms"].ratio == 2.0
    assert result.ratios["cpu_us_per_unit"].ratio == 1.0
    assert set(result.as_json()["arms"]) == {"ours", "peer", "floor"}
    assert "p50_ms: 2.00× [2.00, 2.00]" in table(result)


def test_without_cpu_times_there_is_no_ratio_of_them() -> None:
    taken = {"ours": rounds(2, 2), "peer": rounds(1, 1, cpu_us=None)}
    assert "cpu_us_per_unit" not in compare("question", taken, ours="ours", machine={}).ratios
