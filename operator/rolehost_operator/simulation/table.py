"""The figures for people, and for files."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rolehost_operator.simulation.studies import Errors, Race, Sessions, Setting


@dataclass(frozen=True, slots=True)
class Report:
    """What was asked, and the answers; what was not asked is empty."""

    setting: Setting
    sessions: tuple[Sessions, ...] = ()
    errors: tuple[Errors, ...] = ()
    races: tuple[Race, ...] = ()


def figures(report: Report) -> dict[str, Any]:
    """For JSON: what never came is null.

    >>> figures(Report(Setting(runs=7)))["setting"]["runs"]
    7
    """
    setting = report.setting
    asked = {
        name: getattr(setting, name)
        for name in ("stable", "candidate", "percent", "pace", "scrape", "minima", "runs", "seed", "alpha", "margin")
    }
    answers = {name: [_plain(asdict(one)) for one in getattr(report, name)] for name in ("sessions", "errors", "races")}
    return {"setting": asked, **answers}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def shown(report: Report) -> str:
    """As text, one table for each question that was asked."""
    parts = []
    if report.sessions:
        parts += ["Sessions of the new revision until a verdict", *_aligned(_sessions(report.sessions)), ""]
    if report.errors:
        parts += [f"Wrong verdicts in {report.errors[0].runs} rollouts each", *_aligned(_errors(report.errors)), ""]
    if report.races:
        minimum, percent = report.races[0].minimum, report.setting.percent
        parts += [
            f"Until it is rolled back, at {percent} %, beside Flagger's rule (5 checks of 1 min below {minimum:g} % of turns)",
            *_aligned(_races(report.races)),
            "",
        ]
    return "\n".join(parts)


def _sessions(found: Iterable[Sessions]) -> Iterable[Sequence[str]]:
    yield (
        "traffic",
        "percent",
        "verdict",
        "bad sessions",
        "median",
        "mean",
        "p90",
        "Wald's bound",
        "median/bound",
        "mean/bound",
    )
    for one in found:
        ratios = ("", "", "")
        if one.bound is not None and one.ratio is not None and one.ratio_of_means is not None:
            ratios = (f"{one.bound:.1f}", f"{one.ratio:.2f}", f"{one.ratio_of_means:.2f}")
        rates = f"{100 * one.candidate:.1f} %, stable {100 * one.stable:.1f} %"
        needed = one.needed
        yield (
            one.model,
            f"{one.percent} %",
            one.verdict,
            rates,
            _whole(needed.median),
            _whole(needed.mean),
            _whole(needed.p90),
            *ratios,
        )


def _errors(found: Iterable[Errors]) -> Iterable[Sequence[str]]:
    yield "traffic", "rule", "truth", "said", "wrong", "rate", "at most (95 %)", "allowed"
    for one in found:
        truth = "as good as stable" if one.verdict == "Unhealthy" else "worse by the margin"
        allowed = "" if one.allowed is None else f"{100 * one.allowed:g} %"
        rates = f"{100 * one.rate:.2f} %", f"{100 * one.at_most:.2f} %"
        yield one.model, one.rule, truth, one.verdict, str(one.wrong), *rates, allowed


def _races(found: Iterable[Race]) -> Iterable[Sequence[str]]:
    yield "new/s", "seconds", "sessions", "theirs: seconds", "sessions", "ours/theirs", "wrong in 30 min", "theirs"
    for one in found:
        yield (
            f"{one.rate:g}",
            _whole(one.seconds.median),
            _whole(one.sessions.median),
            _whole(one.flagger_seconds.median),
            _whole(one.flagger_sessions.median),
            f"{one.ratio:.2f}",
            f"{100 * one.wrong:.1f} %",
            f"{100 * one.flagger_wrong:.1f} %",
        )


def _whole(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "never"


def _aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """
    >>> _aligned([("a", "bb"), ("ccc", "d")])
    ['  a    bb', '  ccc  d']
    """
    table = [tuple(row) for row in rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    ]
