"""Laws of the decisions about model servers, whatever happens in whatever order."""

import doctest
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rolehost_runtime.core.models as room
import rolehost_runtime.gateway.broker.models as wires
from rolehost_api.crd.modelbackend import BackendType, Batching, Breaker, Concurrency, Price, Retries
from rolehost_api.wire import Usage
from rolehost_runtime.core.models.abilities import BY_TYPE
from rolehost_runtime.core.models.batches import Batcher
from rolehost_runtime.core.models.breaker import Circuit, CircuitBreaker, Pass
from rolehost_runtime.core.models.budget import Amount, Lease, cost, wanted
from rolehost_runtime.core.models.retries import IN_HAND, NOT_AGAIN, RetryBudget, pause
from rolehost_runtime.core.models.turnstile import Turnstile

ARRANGING = ("arranging", "anthropic", "openai")
MODULES = [
    *(f"{wires.__name__}.{name}" for name in ARRANGING),
    *(f"{room.__name__}.{found.name}" for found in pkgutil.iter_modules(room.__path__)),
]


@pytest.mark.parametrize("name", MODULES)
def test_worked_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


# ── breaker ─────────────────────────────────────────────────────────────────────────

STEPS = st.lists(
    st.tuples(st.sampled_from(["enter", "ok", "fail", "gave up", "wait"]), st.floats(0, 8, allow_nan=False)),
    max_size=80,
)
RULES = st.builds(
    Breaker,
    failure_percent=st.integers(1, 100),
    min_calls=st.integers(1, 5),
    window_seconds=st.integers(1, 10),
    open_seconds=st.integers(1, 10),
)


@given(RULES, STEPS)
def test_an_open_circuit_lets_nobody_through_and_a_half_open_one_a_single_probe(rule: Breaker, steps: Any) -> None:
    breaker, now = CircuitBreaker(rule), 0.0
    running: list[Pass] = []
    for step, seconds in steps:
        now += seconds if step == "wait" else 0.0
        before = breaker.circuit(now)
        if step == "enter":
            let = breaker.enter(now)
            assert (let is None) == (
                before is Circuit.OPEN
                or (before is Circuit.HALF_OPEN and any(one.is_probe for one in live(running, breaker)))
            )
            if let is not None:
                assert let.is_probe == (before is Circuit.HALF_OPEN)
                running.append(let)
        elif running and step != "wait":
            let = running.pop(0)
            probe = let.is_probe and let in live([let], breaker)
            {"ok": breaker.succeeded, "fail": breaker.failed}.get(step, lambda one, at: breaker.gave_up(one))(let, now)
            if probe and step == "ok":
                assert breaker.circuit(now) is Circuit.CLOSED
            elif probe and step == "fail":
                assert breaker.circuit(now) is Circuit.OPEN
                assert breaker.retry_at(now) == now + rule.open_seconds
        assert len([one for one in live(running, breaker) if one.is_probe]) <= 1


def live(running: list[Pass], breaker: CircuitBreaker) -> list[Pass]:
    """Those whose outcome still counts."""
    return [one for one in running if one.era == breaker._era]


@given(RULES, st.integers(0, 40))
def test_a_server_that_never_fails_is_never_left_alone(rule: Breaker, calls: int) -> None:
    breaker = CircuitBreaker(rule)
    for at in range(calls):
        let = breaker.enter(at / 3)
        assert let is not None
        breaker.succeeded(let, at / 3)


@given(RULES)
def test_a_server_that_only_fails_is_left_alone_after_as_many_calls_as_are_enough(rule: Breaker) -> None:
    breaker, calls = CircuitBreaker(rule), 0
    while (let := breaker.enter(0.0)) is not None:
        breaker.failed(let, 0.0)
        calls += 1
    assert calls == rule.min_calls


def test_failures_of_long_ago_do_not_count() -> None:
    breaker = CircuitBreaker(Breaker(min_calls=2, window_seconds=10))
    for now in (0.0, 100.0, 200.0, 300.0):
        let = breaker.enter(now)
        assert let is not None
        breaker.failed(let, now)
    assert breaker.circuit(300.0) is Circuit.CLOSED


# ── retries ─────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 100), st.lists(st.booleans(), max_size=400))
def test_retries_are_a_share_of_calls(percent: int, steps: list[bool]) -> None:
    """True: a call is begun; False: as many retries as there are to be had."""
    budget, calls, retries = RetryBudget(), 0, 0
    for is_call in steps:
        if is_call:
            budget.called(percent)
            calls += 1
        else:
            while budget.take():
                retries += 1
        assert retries <= IN_HAND + calls * percent / 100


@given(
    st.builds(Retries, max_retries=st.integers(0, 5), max_wait_seconds=st.integers(0, 60)),
    st.sampled_from(["model_unavailable", "model_overloaded", *NOT_AGAIN]),
    st.integers(1, 9),
    st.none() | st.integers(0, 4_000_000),
    st.floats(0, 1, exclude_max=True),
)
def test_a_pause_is_no_shorter_than_was_asked_for_and_no_longer_than_may_be(
    rule: Retries, code: str, tried: int, asked: int | None, jitter: float
) -> None:
    wait = pause(rule, code, tried, asked, jitter)
    if code in NOT_AGAIN or tried > rule.max_retries or (asked or 0) > 1000 * rule.max_wait_seconds:
        assert wait is None
    else:
        assert wait is not None
        assert wait >= (asked or 0) / 1000
        assert wait <= rule.max_wait_seconds + 2 or asked is None


# ── the line ────────────────────────────────────────────────────────────────────────


@settings(max_examples=200)
@given(
    st.builds(Concurrency, max_calls=st.integers(1, 3), max_queue=st.integers(0, 6)),
    st.lists(st.tuples(st.sampled_from("abc-x"), st.integers(0, 9)), max_size=80),
)
def test_the_line_is_bounded_and_keeps_everybody_in_order(rule: Concurrency, steps: Any) -> None:
    gate, now = Turnstile(rule), 0.0
    waiting: dict[int, tuple[str, float]] = {}
    admitted: dict[str, int] = {}
    for number, (who, patience) in enumerate(steps):
        now += 0.5
        if who == "-":
            if gate.inside:
                for one in gate.leave(now):
                    tenant, until = waiting.pop(one)
                    assert until > now
                    assert admitted.get(tenant, -1) < one  # a tenant's own calls in their order
                    admitted[tenant] = one
        elif who == "x":
            if waiting:
                gone = max(waiting)
                gate.give_up(gone)
                del waiting[gone]
        else:
            is_in, refused = gate.enter(number, who, now + patience)
            if refused is not None and refused != number:
                del waiting[refused]
            if not is_in and refused != number:
                waiting[number] = (who, now + patience)
        waiting = {one: kept for one, kept in waiting.items() if _waits(gate, one)}
        assert gate.inside <= rule.max_calls
        assert gate.waiting == len(waiting) <= rule.max_queue
        assert not waiting or gate.inside == rule.max_calls


def _waits(gate: Turnstile, number: int) -> bool:
    return any(one.number == number for line in gate._lines.values() for one in line)


def test_who_floods_the_line_makes_nobody_else_wait_longer_than_one_turn_each() -> None:
    gate = Turnstile(Concurrency(max_calls=1, max_queue=10))
    gate.enter(0, "flood", 9)
    for number in range(1, 30):
        gate.enter(number, "flood", 9)
    assert gate.enter(100, "quiet", 9) == (False, 10)  # the flood's newest gave its place up
    assert [gate.leave(0.0) for _ in range(2)] == [[1], [100]]


# ── budgets ─────────────────────────────────────────────────────────────────────────


@settings(max_examples=300)
@given(
    st.integers(1, 5000),
    st.lists(
        st.tuples(
            st.integers(0, 2), st.sampled_from(["call", "end", "dies"]), st.integers(1, 400), st.integers(0, 500)
        ),
        max_size=80,
    ),
)
def test_nobody_spends_more_than_the_budget_and_what_calls_took_beyond_their_reservations(
    bound: int, steps: Any
) -> None:
    """Three gateways cut leases of one counter; calls run at the same time, take more or less than was reserved, and
    gateways die with their leases and their calls."""
    whole, handed_out, spent, beyond = Amount(bound, 0), 0, 0, 0
    leases = [Lease(), Lease(), Lease()]
    running: list[list[tuple[int, int]]] = [[], [], []]
    for who, step, need, took in steps:
        lease = leases[who]
        if step == "dies":
            leases[who], running[who] = Lease(), []
            continue
        if step == "end":
            if running[who]:
                reserved, took = running[who].pop(0)
                lease.settle(Amount(reserved), Amount(took))
                spent += took
                beyond += max(0, took - reserved)
            continue
        if not lease.reserve(Amount(need), whole):
            want = wanted(whole, lease.short(Amount(need))).tokens
            granted = max(0, min(want, bound - handed_out))
            handed_out += granted
            lease.grant(Amount(granted))
            if not lease.reserve(Amount(need), whole):
                assert handed_out == bound  # it is refused only where nothing is left to hand out
                continue
        running[who].append((need, took))
        assert handed_out <= bound
    assert spent <= bound + beyond


@given(
    st.builds(Price, input_micros=st.integers(0, 10**9), output_micros=st.integers(0, 10**9)),
    st.integers(0, 10**7),
    st.integers(0, 10**7),
)
def test_cost_never_rounds_down_and_is_whole(price: Price, shown: int, written: int) -> None:
    exact = shown * price.input_micros + written * price.output_micros
    assert exact <= 1_000_000 * cost(price, Usage(input_tokens=shown, output_tokens=written)) < exact + 1_000_000


# ── batches ─────────────────────────────────────────────────────────────────────────


@settings(max_examples=300)
@given(
    st.builds(
        Batching, max_texts=st.integers(1, 4), max_tokens=st.integers(1, 30), window_milliseconds=st.integers(0, 1000)
    ),
    st.lists(
        st.tuples(
            st.sampled_from(["add", "take", "done", "drop"]), st.sampled_from(["a", "b", ""]), st.integers(0, 20)
        ),
        max_size=80,
    ),
)
def test_batches_are_bounded_lose_nothing_and_keep_each_sessions_order(rule: Batching, steps: Any) -> None:
    line, now = Batcher(rule), 0.0
    added: dict[int, tuple[str, int]] = {}
    running: list[list[int]] = []
    finished: list[int] = []
    dropped: set[int] = set()

    def took(batch: list[int]) -> None:
        if not batch:
            return
        assert len(batch) <= rule.max_texts
        assert len(batch) == 1 or sum(added[one][1] for one in batch) <= rule.max_tokens
        for one in batch:
            session = added[one][0]
            assert not session or all(added[other][0] != session for others in running for other in others)
        running.append(batch)

    for number, (step, session, tokens) in enumerate(steps):
        now += tokens / 20
        if step == "add":
            line.add(number, session, tokens, now)
            added[number] = (session, tokens)
        elif step == "drop":
            waiting = [one for one in added if one not in finished and not any(one in batch for batch in running)]
            for one in waiting[:1]:
                line.drop(one)
                dropped.add(one)
        elif step == "done" and running:
            finished += running[0]
            line.done(running.pop(0))
        else:
            took(line.take(now))
    while running or len(line):
        if running:
            finished += running[0]
            line.done(running.pop(0))
        due = line.due
        if due is not None:
            now = max(now, due)
            batch = line.take(now)
            assert batch  # what is due goes
            took(batch)
    assert sorted(finished) == sorted(added.keys() - dropped)
    for session in ("a", "b"):
        mine = [one for one in finished if added[one][0] == session]
        assert mine == sorted(mine)


# ── the table ───────────────────────────────────────────────────────────────────────


def test_the_page_tells_what_each_type_can_do() -> None:
    page = (Path(__file__).parents[3] / "docs" / "models.md").read_text()
    told = {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in rows(page) if len(row) == 7}
    assert set(told) == {kind.value for kind in BY_TYPE if kind is not BackendType.EMBEDDINGS}
    for kind, can in BY_TYPE.items():
        if kind is BackendType.EMBEDDINGS:
            continue
        said = [*("yes" if one else "no" for one in can[:4])]
        said += [f"{can.context_tokens:,}" if can.context_tokens else "not known"]
        said += [f"{can.max_output_tokens:,}" if can.max_output_tokens else "the server's"]
        assert told[kind.value] == said


def rows(page: str) -> list[list[str]]:
    return [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
