"""Sessions one after the other, each scored as soon as it was drawn: what a verdict costs in sessions, without time."""

import math
from datetime import UTC, datetime
from random import Random

from rolehost_api.crd.rollout import Analysis, Arm
from rolehost_api.slo import FIRST, FIRST_TURNS, LATER, USER, WHOLE
from rolehost_operator.rollout.evidence import Cohort, Evidence, Question, Tally
from rolehost_operator.rollout.judging import judge
from rolehost_operator.rollout.verdict import Verdict
from rolehost_operator.simulation.rules import OBJECTIVE
from rolehost_operator.simulation.traffic import Model, bad_session, share_of_bad

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
MOST = 20_000
"""So many sessions of the candidate without a verdict are taken for infinitely many."""
_STRIDE = 10
"""A good verdict is looked for after so many sessions of the candidate; a bad one after each bad session."""


def sessions_until(
    rng: Random, stable: float, candidate: float, model: Model, share: float, analysis: Analysis, stop: Verdict
) -> float:
    """Of the candidate, until the judge says `stop`; infinite if it never does. Rates are of turns."""
    fails = candidate, stable
    bad_shares = tuple(share_of_bad(one, model) for one in fails)
    begun = [0, 0]
    bad = [dict.fromkeys((WHOLE, FIRST, LATER), 0) for _ in fails]
    while begun[0] < MOST:
        side = int(rng.random() >= share)
        begun[side] += 1
        failed = rng.random() < bad_shares[side]
        if failed:
            turns = bad_session(rng, fails[side], model)
            bad[side][WHOLE] += 1
            bad[side][FIRST] += turns[0]
            bad[side][LATER] += any(turns[1:])
        # Only a candidate's bad session can make it worse, so nothing is missed between two of them.
        look = failed if stop is Verdict.UNHEALTHY else begun[0] % _STRIDE == 0
        if side == 0 and look and judge(_evidence(begun, bad, share), analysis, epoch=1, now=_NOW).verdict is stop:
            return begun[0]
    return math.inf


def _evidence(begun: list[int], bad: list[dict[str, int]], share: float) -> Evidence:
    percent = round(100 * share)
    return Evidence(
        "simulated",
        _NOW,
        tuple(
            Cohort(
                1,
                arm.value,
                arm,
                part,
                {USER: begun[side]},
                FIRST_TURNS * begun[side],
                {
                    Question(OBJECTIVE, stratum, USER): Tally(begun[side] - count, count)
                    for stratum, count in bad[side].items()
                },
            )
            for side, (arm, part) in enumerate(((Arm.CANDIDATE, percent), (Arm.BASELINE, 100 - percent)))
        ),
    )
