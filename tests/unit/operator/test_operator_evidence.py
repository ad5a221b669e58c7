"""What gateways say, put together; time is an argument."""

from datetime import timedelta

import msgspec
from tests.support.observing import NOON, report

from rolehost_api.observed import Observed, PodReport, RevisionReport, RolloutReport, WarmReport
from rolehost_operator.evidence.sightings import GRACE, Sightings

SECOND = timedelta(seconds=1)


def said(*pods: PodReport, sessions: int | None = None, number: int = 1) -> Observed:
    counts = (
        () if sessions is None else (RevisionReport(namespace="acme", role="cat", revision="r1", sessions=sessions),)
    )
    return Observed(gateway="gw", number=number, pods=pods, revisions=counts)


def reporting(*names: str) -> Sightings:
    seen = Sightings()
    seen.expect(set(names), NOON)
    return seen


def test_a_report_concerns_the_roles_in_it_and_those_that_were() -> None:
    seen = reporting("a")
    assert seen.heard("a", said(report("r1")), NOON) == {("acme", "cat")}
    assert seen.heard("a", said(report("r1")), NOON) == set()
    assert seen.heard("a", said(number=2), NOON) == {("acme", "cat")}
    assert seen.pods(("acme", "cat")) == ()


def test_of_a_pod_that_changes_hands_somebodys_word_is_always_there() -> None:
    seen = reporting("a", "b")
    seen.heard("a", said(report("r1")), NOON)
    seen.heard("b", said(), NOON)
    seen.expect({"b"}, NOON + SECOND)  # a restarts; b becomes the pod's binder
    assert [pod.loaded for pod in seen.pods(("acme", "cat"))] == [True]
    seen.heard("b", said(report("r1"), number=2), NOON + 2 * SECOND)
    seen.expect({"b"}, NOON + GRACE + 2 * SECOND)
    assert [pod.loaded for pod in seen.pods(("acme", "cat"))] == [True]


def test_a_revision_is_idle_since_its_last_session_ended() -> None:
    seen = reporting("a")
    seen.heard("a", said(sessions=2), NOON)
    assert seen.idle_since("acme", ["r1"]) == {}
    seen.heard("a", said(sessions=0, number=2), NOON + SECOND)
    assert seen.idle_since("acme", ["r1"]) == {"r1": NOON + SECOND}


def test_one_gateway_that_listens_is_enough_and_its_news_concerns_its_roles() -> None:
    seen = reporting("a", "b")
    for name in ("a", "b"):
        seen.heard(name, said(report("r1")), NOON)
    assert not seen.listening
    news = Observed(gateway="gw", number=2, listening=True, pods=(report("r1"),))
    assert seen.heard("a", news, NOON) == {("acme", "cat")}
    assert seen.listening
    seen.missed("a", NOON)
    assert seen.listening, "its word stands for a while"
    seen.missed("a", NOON + GRACE + SECOND)
    assert not seen.listening


def test_sessions_of_a_pod_count_too() -> None:
    seen = reporting("a")
    seen.heard("a", said(report("r1", sessions=1), sessions=0), NOON)
    assert seen.idle_since("acme", ["r1"]) == {}


def test_nothing_is_idle_while_a_gateway_has_not_reported() -> None:
    seen = reporting("a", "b")
    seen.heard("a", said(sessions=0), NOON)
    assert seen.idle_since("acme", ["r1"]) == {}
    seen.heard("b", said(), NOON + SECOND)
    assert seen.idle_since("acme", ["r1"]) == {"r1": NOON + SECOND}


def test_a_new_gateway_starts_the_count_anew() -> None:
    seen = reporting("a")
    seen.heard("a", said(sessions=0), NOON)
    seen.expect({"a", "b"}, NOON + SECOND)
    assert seen.idle_since("acme", ["r1"]) == {}


def test_no_gateway_at_all_makes_nothing_idle() -> None:
    assert reporting().idle_since("acme", ["r1"]) == {}


def test_a_silent_gateway_keeps_its_word_for_a_while() -> None:
    seen = reporting("a")
    seen.heard("a", said(report("r1")), NOON)
    assert seen.missed("a", NOON) == set()
    assert seen.missed("a", NOON + GRACE) == set()
    assert len(seen.pods(("acme", "cat"))) == 1
    assert seen.missed("a", NOON + GRACE + SECOND) == {("acme", "cat")}
    assert seen.gateways == 0


def test_a_quiet_gateway_is_not_a_silent_one() -> None:
    seen = reporting("a")
    seen.heard("a", said(report("r1")), NOON)
    seen.expect({"a"}, NOON + 10 * GRACE)
    assert seen.gateways == 1


def test_silence_ends_with_the_next_word() -> None:
    seen = reporting("a")
    seen.heard("a", said(), NOON)
    seen.missed("a", NOON)
    seen.heard("a", said(), NOON + SECOND)
    seen.missed("a", NOON + GRACE + SECOND)
    assert seen.gateways == 1


def test_a_gateway_that_is_gone_is_forgotten_and_its_sessions_with_it() -> None:
    seen = reporting("a", "b")
    seen.heard("a", said(sessions=3), NOON)
    seen.heard("b", said(), NOON)
    seen.expect({"b"}, NOON)
    assert seen.idle_since("acme", ["r1"]) == {}
    later = NOON + GRACE + SECOND
    seen.expect({"b"}, later)
    assert seen.idle_since("acme", ["r1"]) == {"r1": later}


# ── counts ──────────────────────────────────────────────────────────────────────────


def test_a_count_that_merely_moved_wakes_nobody_and_is_told_once_when_asked() -> None:
    seen = reporting("a")
    seen.heard("a", said(sessions=2), NOON)
    assert seen.moved() == {("acme", "cat")}
    for number, count in enumerate((3, 4, 5), 2):
        assert seen.heard("a", said(report("r1", sessions=count), sessions=count, number=number), NOON) <= {
            ("acme", "cat")
        }
    assert seen.heard("a", said(report("r1", sessions=9), sessions=9, number=9), NOON) == set()
    assert seen.sessions("acme", ["r1"]) == {"r1": 9}
    assert seen.moved() == {("acme", "cat")}
    assert seen.moved() == set()


def test_a_report_wakes_those_only_of_whom_it_says_something_new() -> None:
    seen = reporting("a")
    dog = RevisionReport(namespace="acme", role="dog", revision="d1", sessions=1)
    cat = RevisionReport(namespace="acme", role="cat", revision="r1", sessions=1)
    seen.heard("a", Observed(gateway="gw", number=1, revisions=(cat, dog)), NOON)
    assert seen.heard("a", Observed(gateway="gw", number=2, revisions=(cat,)), NOON) == {("acme", "dog")}


def test_sessions_are_counted_over_all_gateways_or_not_at_all() -> None:
    seen = reporting("a", "b")
    seen.heard("a", said(sessions=2), NOON)
    assert seen.sessions("acme", ["r1"]) == {}
    seen.heard("b", said(sessions=40), NOON)
    assert seen.sessions("acme", ["r1", "r2"]) == {"r1": 42, "r2": 0}
    seen.missed("b", NOON)
    seen.missed("b", NOON + GRACE + SECOND)
    assert seen.sessions("acme", ["r1"]) == {}


# ── blind ───────────────────────────────────────────────────────────────────────────


def test_a_blind_gateways_pods_are_no_news_and_make_nothing_idle_but_its_sessions_count() -> None:
    seen = reporting("a", "b")
    seen.heard("a", said(report("r1")), NOON)
    blind = msgspec.structs.replace(said(report("r2", sessions=1), sessions=1, number=2), stale=True)
    seen.heard("b", blind, NOON)
    assert [pod.revision for pod in seen.pods(("acme", "cat"))] == ["r1"]
    assert seen.gateways == 2
    assert seen.idle_since("acme", ["r1", "r2"]) == {}
    seen.heard("b", said(number=3), NOON + SECOND)
    assert seen.idle_since("acme", ["r1"]) == {"r1": NOON + SECOND}


# ── what rollouts did to sessions ───────────────────────────────────────────────────


def counted(life: str, number: int, migrated: int, *, breaker: bool = False) -> Observed:
    one = RolloutReport(namespace="acme", role="cat", rollout="1-ab", migrated=migrated, breaker=breaker)
    return Observed(gateway=life, number=number, rollouts=(one,))


def test_sessions_are_counted_over_all_gateways_and_their_lives() -> None:
    seen, cat = reporting("a", "b"), ("acme", "cat")
    seen.heard("a", counted("a/1", 1, 3), NOON)
    seen.heard("b", counted("b/1", 1, 2), NOON)
    assert seen.rollouts(cat)["1-ab"].counts.migrated == 5
    assert seen.moved() == {cat}
    seen.heard("a", counted("a/2", 1, 1), NOON)  # it was started anew, and counts from nothing
    assert seen.rollouts(cat)["1-ab"].counts.migrated == 6
    seen.expect({"b"}, NOON)
    seen.expect({"b"}, NOON + GRACE + SECOND)  # and is gone for good
    assert seen.rollouts(cat)["1-ab"].counts.migrated == 6
    assert seen.rollouts(("acme", "dog")) == {}


def test_a_breaker_is_open_as_long_as_its_gateway_says_so() -> None:
    seen, cat = reporting("a"), ("acme", "cat")
    seen.heard("a", counted("a/1", 1, 0, breaker=True), NOON)
    assert seen.rollouts(cat)["1-ab"].breaker
    seen.heard("a", counted("a/2", 1, 0), NOON)
    assert not seen.rollouts(cat)["1-ab"].breaker


def test_rollouts_that_are_long_over_are_forgotten() -> None:
    seen, cat = reporting("a"), ("acme", "cat")
    for number in range(20):
        one = RolloutReport(namespace="acme", role="cat", rollout=f"{number}-ab", migrated=1)
        seen.heard("a", Observed(gateway="a/1", number=number, rollouts=(one,)), NOON)
    assert sorted(seen.rollouts(cat)) == ["16-ab", "17-ab", "18-ab", "19-ab"]


# ── what was warmed ─────────────────────────────────────────────────────────────────


def warmed(*rollouts: str, number: int = 1) -> Observed:
    done = tuple(WarmReport(namespace="acme", role="cat", rollout=one) for one in rollouts)
    return Observed(gateway="gw", number=number, warmed=done)


def test_gateways_that_are_done_are_counted_and_each_is_news_of_its_role() -> None:
    seen = reporting("a", "b")
    assert (seen.expected, seen.warmed(("acme", "cat"))) == (2, {})
    assert seen.heard("a", warmed("1-ab"), NOON) == {("acme", "cat")}
    assert seen.heard("a", warmed("1-ab", number=2), NOON) == set()
    assert seen.warmed(("acme", "cat")) == {"1-ab": 1}
    assert seen.heard("b", warmed("1-ab", "2-cd"), NOON) == {("acme", "cat")}
    assert seen.warmed(("acme", "cat")) == {"1-ab": 2, "2-cd": 1}
    assert seen.warmed(("acme", "dog")) == {}
    assert seen.heard("a", warmed(number=3), NOON) == {("acme", "cat")}
    assert seen.warmed(("acme", "cat")) == {"1-ab": 1, "2-cd": 1}


def test_who_is_gone_is_neither_waited_for_nor_counted() -> None:
    seen = reporting("a", "b")
    seen.heard("a", warmed("1-ab"), NOON)
    seen.expect({"b", "c", "d"}, NOON + SECOND)
    assert (seen.expected, seen.warmed(("acme", "cat"))) == (3, {})
    seen.heard("b", warmed("1-ab"), NOON + SECOND)
    assert seen.warmed(("acme", "cat")) == {"1-ab": 1}


def test_a_gateway_that_is_gone_is_news_where_others_are_done() -> None:
    """Else nobody would look again before the deadline."""
    seen = reporting("a", "b")
    seen.heard("a", warmed("1-ab"), NOON)
    assert seen.expect({"a"}, NOON + SECOND) == {("acme", "cat")}
    assert seen.expect({"a"}, NOON + SECOND) == set()
