"""What waits to be sent has a bound, and whatever is dropped is counted by why."""

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry
from tests.support.otlp import Told, read

from rolehost_runtime.gateway.tracing.sending import AT_ONCE, BATCH_BYTES, Sender, Sending, SpanSink
from rolehost_runtime.gateway.tracing.turn import MAX_STEPS, STEP_WEIGHT, TurnTrace

HURRIED = Sending(pauses=(0.0, 0.0), every=0.0)


def turn(steps: int = 2) -> TurnTrace:
    made = TurnTrace()
    for number in range(steps):
        made.step("route", number, number + 1)
    made.ended = (0.0, 9.0, (), "")
    return made


class Collector:
    """Answers as it is told, the last answer for ever."""

    def __init__(self, *answers: int | Exception) -> None:
        self._answers, self.bodies = list(answers), list[bytes]()

    async def __call__(self, body: bytes) -> int:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        if answer == 200:
            self.bodies.append(body)
        return answer

    @property
    def spans(self) -> list[Told]:
        return [span for body in self.bodies for span in read(body)[1]]


class Sent:
    def __init__(self, collector: Collector, sending: Sending = HURRIED) -> None:
        self.registry = CollectorRegistry()
        self.sender = Sender(collector, (), SpanSink(self.registry), sending)

    def dropped(self, why: str) -> float:
        return self.registry.get_sample_value("rolehost_spans_dropped_total", {"why": why}) or 0.0

    @property
    def sent(self) -> float:
        return self.registry.get_sample_value("rolehost_spans_sent_total") or 0.0

    async def until(self, true: Callable[[], bool]) -> None:
        running = asyncio.create_task(self.sender.run())
        while not true():
            await asyncio.sleep(0)
        running.cancel()


async def test_what_was_put_is_sent_in_order() -> None:
    collector = Collector(200)
    sent = Sent(collector)
    turns = [turn(number) for number in range(3)]
    for one in turns:
        sent.sender.put(one)
    await sent.until(lambda: sent.sent == 6)
    assert [span.trace_id for span in collector.spans] == [
        one.trace_id.hex() for one in turns for _ in range(one.count)
    ]


async def test_a_collector_that_comes_back_gets_what_waited() -> None:
    sent = Sent(collector := Collector(ConnectionRefusedError(), 503, 200))
    sent.sender.put(turn())
    await sent.until(lambda: sent.sent == 3)
    assert len(collector.spans) == 3
    assert sum(map(sent.dropped, ("unreachable", "refused", "queue_full"))) == 0


async def test_what_cannot_be_sent_for_long_is_given_up_and_counted() -> None:
    sent = Sent(Collector(TimeoutError()))
    sent.sender.put(turn())
    await sent.until(lambda: sent.dropped("unreachable") == 3)


async def test_what_the_collector_refuses_is_not_tried_again() -> None:
    sent = Sent(collector := Collector(400, 200))
    sent.sender.put(turn())
    await sent.until(lambda: sent.dropped("refused") == 3)
    assert collector.bodies == []


async def test_what_has_no_room_is_dropped_and_the_rest_stays() -> None:
    sent = Sent(Collector(200), Sending(pauses=(), every=0.0, most_bytes=10 * STEP_WEIGHT))
    for _ in range(5):
        sent.sender.put(turn())  # three spans each
    assert sent.dropped("queue_full") == 2 * 3
    assert sent.sender._bytes <= 10 * STEP_WEIGHT
    await sent.until(lambda: sent.sent == 9)
    assert sent.sender._bytes == 0


async def test_one_request_has_a_bound() -> None:
    sent = Sent(collector := Collector(200))
    most = BATCH_BYTES // STEP_WEIGHT
    for _ in range(most):
        sent.sender.put(turn(1))
    await sent.until(lambda: sent.sent == 2 * most)
    assert len(collector.bodies) >= 2
    assert max(len(read(body)[1]) for body in collector.bodies) <= most + 2 * AT_ONCE


async def test_at_the_end_it_is_tried_once_and_what_is_left_is_counted() -> None:
    sent = Sent(Collector(ConnectionRefusedError()))
    sent.sender.put(turn())
    await sent.sender.flush()
    assert sent.dropped("unreachable") == 3
    well = Sent(collector := Collector(200))
    well.sender.put(turn())
    await well.sender.flush()
    assert len(collector.spans) == 3


async def test_a_turn_of_many_steps_is_told_in_part_and_says_so() -> None:
    one = turn(MAX_STEPS + 7)
    told = one.told(10**18, 0.0)
    assert len(told) == 1 + MAX_STEPS
    assert dict(told[0].attributes) == {"rolehost.steps_left_out": 7}
