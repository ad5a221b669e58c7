"""The words for it, for somebody who is tired. Pure: a picture and the time in, lines out."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from rolehost.cli.terminal import visible
from rolehost_api.crd.rollout import Decision
from rolehost_operator.rollout_commands.reading import UNDONE, Picture, seconds_since

WIDTH = 12


def status(one: Picture, now: datetime) -> list[str]:
    """All of what goes on with one Role."""
    rollout, name = one.rollout, one.meta.name
    rows = [("stable", one.status.stable_revision or "none yet")]
    if one.goes_on:
        rows.append(("new", f"{rollout.revision}, rollout {rollout.id}"))
    rows.append(("traffic", _traffic(one)))
    if one.goes_on:
        rows += _progress(one, now)
    if decision := rollout.last_decision:
        rows.append(("evidence", _evidence(decision)))
        rows.append(
            ("verdict", ": ".join(part for part in (decision.verdict or decision.action, decision.reason) if part))
        )
        if decision.message:
            rows.append(("", decision.message))
        rows += [("differs too", difference) for difference in decision.confounders]
    if one.held:
        rows.append(("waits for", one.held))
    rows += _moved(one, now)
    if one.spec.rollout.pinned_revision:
        rows.append(("pinned", f"{one.spec.rollout.pinned_revision}: rolehost rollout undo {name} --unpin ends that"))
    rows += [("you can", words) for words in _possible(one)]
    return [f"{name}: {headline(one)}", *_table(rows)]


def headline(one: Picture) -> str:
    """Where it is, in one line."""
    rollout = one.rollout
    match rollout.stage:
        case "Preparing":
            said = f"{rollout.revision} is prepared; it has no sessions yet"
        case "Stepping" if rollout.variants:
            said = "an experiment runs"
        case "Stepping":
            said = f"{rollout.revision} earns its traffic: step {rollout.step} of {rollout.steps}, {rollout.percent} %"
        case "Watching":
            said = f"{rollout.revision} is promoted and watched"
        case "Stopped":
            said = f"{rollout.revision} stopped: it takes no new sessions, nobody was moved"
        case _ if one.last is not None and one.last.action in UNDONE:
            by = "by itself" if one.last.automatic else "by somebody"
            said = f"{one.last.revision} was {_past(one.last.action)} {by}: {one.last.reason}"
        case _:
            said = "no rollout goes on"
    return f"{said}, PAUSED" if one.spec.rollout.paused and one.goes_on else said


def why(one: Picture, now: datetime) -> list[str]:
    """The last decision with its numbers, and what was decided before."""
    decision = one.rollout.last_decision
    lines = [f"{one.meta.name}: {headline(one)}"]
    if decision is None:
        lines.append("Nothing was decided yet.")
    else:
        rows = [
            ("decided", f"{decision.action}{_ago(decision.at, now)}"),
            ("verdict", decision.verdict or "-"),
            ("reason", decision.reason or "-"),
            ("", decision.message),
            ("metric", decision.metric or "-"),
            ("value", decision.value or "-"),
            ("threshold", decision.threshold or "-"),
            ("samples", _samples(decision)),
            ("window", f"{period(decision.window_seconds)}, since this step began"),
            ("alpha", decision.alpha or "-"),
            *(("differs too", difference) for difference in decision.confounders),
        ]
        lines += _table([row for row in rows if row[1]])
    if one.status.history:
        lines += ["", "before:"]
        lines += [
            f"  {past.at}  {past.action:11} {visible(past.revision)}  {past.reason}{' (by itself)' if past.automatic else ''}"
            for past in one.status.history
        ]
    return lines


def overview(found: Sequence[Picture]) -> list[str]:
    """A line for each Role."""
    rows = [("ROLE", "STAGE", "STEP", "NEW", "REVISION", "VERDICT")]
    for one in found:
        rollout, decision = one.rollout, one.rollout.last_decision
        step = f"{rollout.step}/{rollout.steps}" if one.goes_on and rollout.steps else "-"
        share = f"{rollout.percent} %" if one.goes_on else "-"
        verdict = f"{decision.verdict or decision.action} {decision.reason}" if decision and one.goes_on else "-"
        stage = rollout.stage or (one.last.action if one.last else "-")
        rows.append((one.meta.name, stage, step, share, rollout.revision or one.status.stable_revision or "-", verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def period(seconds: float) -> str:
    """
    >>> [period(one) for one in (0, 59.4, 61, 3600, 5400, 90000)]
    ['0 s', '59 s', '1 min', '1 h', '1 h 30 min', '1 d 1 h']
    """
    whole = int(seconds)
    for unit, size, below, small in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60)):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole // 60} min" if whole >= 60 else f"{whole} s"


# ── parts ───────────────────────────────────────────────────────────────────────────


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    lines, before = [], ""
    for title, text in rows:
        shown = "" if title == before else title
        lines.append(f"  {shown:{WIDTH}}{visible(text)}".rstrip())
        before = title
    return lines


def _traffic(one: Picture) -> str:
    return ", ".join(f"{percent} % to {revision}" for revision, percent in one.shares.items()) or "none yet"


def _progress(one: Picture, now: datetime) -> Iterator[tuple[str, str]]:
    rollout = one.rollout
    since, step_since = seconds_since(rollout.started_at, now), seconds_since(rollout.step_started_at, now)
    if since is not None:
        yield (
            "since",
            f"{period(since)}" + (f", {period(step_since)} of them as it is" if step_since is not None else ""),
        )
    if left := one.step_over_in(now):
        yield "lasts", f"{period(left)} more at least"
    deadline = one.deadline_in(now)
    if deadline is not None:
        yield "deadline", f"in {period(deadline)}: then it takes no new sessions and waits for you"


def _evidence(decision: Decision) -> str:
    return f"{_samples(decision)}, in {period(decision.window_seconds)}"


def _samples(decision: Decision) -> str:
    more = f", some {decision.samples_expected} more expected" if decision.samples_expected else ""
    return f"{decision.samples} sessions scored{more}"


def _moved(one: Picture, now: datetime) -> Iterator[tuple[str, str]]:
    for leaving in one.status.leaving:
        yield "leaving", f"{leaving.revision}: {leaving.policy.value}, by {leaving.reason}{_ago(leaving.since, now)}"
    counts = one.rollout.sessions
    if any((counts.migrated, counts.drained, counts.dropped, counts.reset)):
        reset = f" ({counts.reset} of them began their state anew)" if counts.reset else ""
        yield (
            "sessions",
            f"{counts.migrated} moved{reset}, {counts.drained} ended where they were, {counts.dropped} cut",
        )


def _possible(one: Picture) -> Iterator[str]:
    name, stage = one.meta.name, one.rollout.stage
    if stage in ("Preparing", "Stepping", "Stopped"):
        yield f"rolehost rollout promote {name}   go on without more evidence"
        yield f"rolehost rollout abort {name}     give it up"
    elif stage == "Watching":
        yield f"rolehost rollout promote {name}   end the watch"
        yield f"rolehost rollout abort {name}     go back, open sessions too"
    elif one.last is not None and one.last.action in UNDONE:
        yield f"rolehost rollout promote {name}   try the same revision again"


def _ago(at: str, now: datetime) -> str:
    seconds = seconds_since(at, now)
    return "" if seconds is None else f", {period(seconds)} ago"


def _past(action: str) -> str:
    return {"RolledBack": "rolled back", "Aborted": "aborted"}.get(action, action)
