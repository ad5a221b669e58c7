"""One rollout: who got the candidate, whether it does as well as stable at the same time, and what was decided."""

from rolehost_api import slo
from rolehost_api.crd.rollout import Arm
from rolehost_dashboards.boards.board import Board, Section, Variable
from rolehost_dashboards.boards.marks import ROLLOUTS, TRANSITIONS
from rolehost_dashboards.panels import GREEN, RED, YELLOW, Query, bars, grid, lines, number, states
from rolehost_dashboards.queries import ROLE, bottom, grown, part, part_grown, quantile, rate, top

SESSIONS, TURNS, JUDGED = f"{slo.SESSIONS}_total", f"{slo.ROLLOUT_TURNS}_total", f"{slo.TURNS}_total"
FIRST, TOTAL = "rolehost_turn_first_token_seconds", "rolehost_turn_seconds"
ROLLOUT = f'{ROLE},rollout=~"$rollout"'
ASSIGNED = f'{ROLLOUT},outcome="{slo.ASSIGNED}"'
SCORED = f'{ROLLOUT},outcome=~"{slo.GOOD}|{slo.BAD}"'
WHOLE = f'{SCORED},stratum="{slo.WHOLE}"'
"""Each session once an objective; the other strata are parts of it."""
BAD = f'outcome="{slo.BAD}"'
CANDIDATE, BASELINE = (f'arm="{one.value}"' for one in (Arm.CANDIDATE, Arm.BASELINE))
HEALTHY, UNHEALTHY = "Healthy", "Unhealthy"
KNOWN = f'{ROLE},revision!=""'
"""Turns that had come to a revision."""
TIMES = (
    ("First token by revision, p95", "Not comparable where one revision has the long sessions: the verdict looks at sessions for that reason.", 0.95, FIRST),
    ("First token by revision, p50", "A candidate that is slower for all shows here; one that is slower for some shows in p95.", 0.5, FIRST),
    ("Whole turn by revision, p99", "Until the turn is durable.", 0.99, TOTAL),
)  # fmt: skip
"""Quantiles by revision: title, description, share, histogram."""
MOVED = "rolehost_rollout_evacuated_sessions_total"


def board() -> Board:
    return Board(
        name="rollout",
        title="rolehost: a rollout",
        description="A candidate beside stable, at the same time and by sessions; what the operator made of it.",
        variables=(
            Variable("tenant", "Tenant", "label_values(rolehost_turns_total, tenant)"),
            Variable("role", "Role", 'label_values(rolehost_turns_total{tenant="$tenant"}, role)'),
            Variable("rollout", "Rollout", f"label_values({SESSIONS}{{{ROLE}}}, rollout)", many=True),
        ),
        sections=(_now(), _verdict(), _sessions(), _revisions(), _decisions()),
        notes=(ROLLOUTS,),
        links=(("role", "Its Role"), ("tenant", "Its tenant"), ("sandbox", "Its pods"), ("platform", "Platform")),
    )


def _now() -> Section:
    return Section(
        "Now",
        (
            number(
                "New sessions on the candidate",
                "What part of those that began in this time. spec.rollout's percent is what it should be near.",
                "percentunit",
                Query(part_grown(SESSIONS, CANDIDATE, ASSIGNED), "candidate"),
            ),
            number(
                "Sessions on the candidate",
                "Given to it in this time.",
                "short",
                Query(grown(SESSIONS, f"{ASSIGNED},{CANDIDATE}"), "sessions"),
            ),
            number(
                "Bad sessions, candidate",
                "What part of its scored sessions was bad in this time, by the objective that has most of them.",
                "percentunit",
                Query(f"max({part_grown(SESSIONS, BAD, f'{WHOLE},{CANDIDATE}', 'objective')})", "candidate"),
                limits=((0.02, YELLOW), (0.05, RED)),
            ),
            number(
                "Bad sessions, stable",
                "The same of stable: what the candidate has to be compared with, and nothing else.",
                "percentunit",
                Query(f"max({part_grown(SESSIONS, BAD, f'{WHOLE},{BASELINE}', 'objective')})", "stable"),
                limits=((0.02, YELLOW), (0.05, RED)),
            ),
            number(
                "Gateways that stopped by themselves",
                "Too many bad sessions in a row: these give the candidate no new ones, whatever the share says.",
                "short",
                Query(f"sum(rolehost_rollout_breaker{{{ROLLOUT}}})", "gateways"),
                limits=((1, RED),),
            ),
            number(
                "Sessions dropped",
                "By this rollout's end, in this time. MigrateAtTurn drops none.",
                "short",
                Query(grown(MOVED, f'{ROLLOUT},how="dropped"'), "dropped"),
                limits=((1, RED),),
            ),
        ),
    )


def _verdict() -> Section:
    of = {one: f'max({slo.VERDICT}{{{ROLE},verdict="{one}"}})' for one in (HEALTHY, UNHEALTHY)}
    return Section(
        "How near it is to a verdict",
        (
            states(
                "Verdict",
                "Of the judge, now. Unhealthy rolls back; Healthy ends the step, once that has lasted as long as it is to; both are "
                "shown for a minute. Why: rolehost rollout why.",
                Query(f"{of[HEALTHY]} + 2 * {of[UNHEALTHY]}", "verdict"),
                ((0, "Unknown", YELLOW), (1, HEALTHY, GREEN), (2, UNHEALTHY, RED)),
            ),
            lines(
                "Evidence that it is worse",
                "By objective and stratum, as part of what is needed. At 100 % in any of them it is rolled back, if users show it too. At 0 % "
                "nothing speaks for it. Each step begins anew.",
                "percentunit",
                Query(top(6, _evidence(UNHEALTHY)), "{{metric}}"),
                limits=((1, RED),),
            ),
            lines(
                "Evidence that it is no worse",
                "By objective, those that lag most. At 100 % in all of them the step ends: worse than stable by more than the margin is ruled "
                "out. A bad session sets it back.",
                "percentunit",
                Query(bottom(6, _evidence(HEALTHY)), "{{metric}}"),
                limits=((1, GREEN),),
            ),
            lines(
                "Sessions of the candidate, and how many it takes",
                "Of this step. The second line is a guess from those that came so far, and is not there where none can be made.",
                "short",
                Query(f"max({slo.SAMPLES}{{{ROLE}}})", "judged"),
                Query(f"max({slo.SAMPLES_WANTED}{{{ROLE}}})", "expected to be needed"),
            ),
        ),
    )


def _evidence(direction: str) -> str:
    """Logarithms add up session by session, so half of the threshold is about half of the way."""
    there, needed = (
        f'max by (metric) ({name}{{{ROLE},direction="{direction}"}})' for name in (slo.EVIDENCE, slo.EVIDENCE_THRESHOLD)
    )
    return f"clamp_min({there} / {needed}, 0)"


def _sessions() -> Section:
    return Section(
        "The comparison: sessions, both arms, at the same time",
        (
            lines(
                "Sessions assigned",
                "By arm. A session keeps its arm for as long as it lasts; a raised weight adds, and moves nobody.",
                "cps",
                Query(rate(SESSIONS, ASSIGNED, "arm"), "{{arm}}"),
                stacked=True,
            ),
            lines(
                "Bad sessions",
                "What part of scored sessions was bad over ten minutes, by the objective that has most of them. The verdict is not made from this line but from "
                "each session in order; it only shows what it will be about.",
                "percentunit",
                Query(f"max by (arm) ({part(SESSIONS, BAD, WHOLE, 'objective, arm', '10m')})", "{{arm}}"),
            ),
            lines(
                "Turns of those sessions",
                "By arm; minTurns is a floor under a promotion.",
                "reqps",
                Query(rate(TURNS, ROLLOUT, "arm"), "{{arm}}"),
                stacked=True,
            ),
            bars(
                "Bad by objective and arm",
                "Over the time shown. One objective alone: that is what the candidate made worse.",
                "percentunit",
                Query(part_grown(SESSIONS, BAD, WHOLE, "objective, arm"), "{{objective}}: {{arm}}"),
                limits=((0.02, YELLOW), (0.05, RED)),
                width=6,
            ),
            bars(
                "Bad by stratum and arm",
                "`first`: it fails or is slow at the first turn. `later`: what a session gathers makes it worse. `whole`: either.",
                "percentunit",
                Query(part_grown(SESSIONS, BAD, SCORED, "stratum, arm"), "{{stratum}}: {{arm}}"),
                limits=((0.02, YELLOW), (0.05, RED)),
                width=6,
            ),
            grid(
                "Sessions by arm, objective and stratum",
                "Counted, over the time shown.",
                "short",
                Query(grown(SESSIONS, SCORED, "arm, objective, stratum"), "scored"),
                Query(grown(SESSIONS, f"{ROLLOUT},{BAD}", "arm, objective, stratum"), "bad"),
                width=12,
            ),
            lines(
                "Who could be told apart",
                "Users are assigned as themselves, anonymous ones by session. Anonymous traffic alone never rolls back.",
                "cps",
                Query(rate(SESSIONS, ASSIGNED, "known"), "{{known}}"),
                width=12,
                stacked=True,
            ),
            lines(
                "Sessions that live on each revision",
                "Falls on the revision that is left: MigrateAtTurn at the next turn, Drain as they end.",
                "short",
                Query(top(6, f"sum by (revision) (rolehost_revision_sessions{{{ROLE}}})"), "{{revision}}"),
                width=12,
                stacked=True,
            ),
        ),
    )


def _revisions() -> Section:
    return Section(
        "The same by revision, turn by turn",
        (
            *(
                lines(title, description, "s", Query(top(6, quantile(share, of, KNOWN, "revision")), "{{revision}}"))
                for title, description, share, of in TIMES
            ),
            lines(
                "Bad turns by revision",
                "What part of judged turns, by objective. For looking, not for deciding: turns of one session go together.",
                "percentunit",
                Query(top(8, part(JUDGED, BAD, KNOWN, "revision, objective")), "{{revision}}: {{objective}}"),
                width=12,
            ),
            lines(
                "Turns by revision",
                "Judged ones, of the first objective or the other.",
                "reqps",
                Query(top(6, f"max by (revision) ({rate(JUDGED, KNOWN, 'revision, objective')})"), "{{revision}}"),
                width=12,
                stacked=True,
            ),
        ),
    )


def _decisions() -> Section:
    stage, unknown = "rolehost_rollout_stage", "rolehost_rollout_unknown"
    return Section(
        "What was decided, and what it did",
        (
            lines(
                "Stage",
                "1 in the stage that it is in: Preparing, Stepping, Watching; Stopped waits for a person.",
                "short",
                Query(f"max by (stage) ({stage}{{{ROLE}}})", "{{stage}}"),
                stacked=True,
            ),
            lines(
                "Since it got on",
                "Against how long its step lasts at least. At progressDeadlineSeconds it stops taking new sessions.",
                "s",
                Query(f"max(rolehost_rollout_progress_age_seconds{{{ROLE}}})", "since it got on"),
                Query(f"max(rolehost_rollout_pause_seconds{{{ROLE}}})", "the step lasts"),
            ),
            lines(
                "Holds without a verdict",
                "`sessions`: more traffic ends it. `evidence`: something is missing, e.g. Prometheus; status.rollout says what.",
                "short",
                Query(f"max by (why) ({unknown}{{{ROLE}}})", "waits for {{why}}"),
                limits=((1, YELLOW),),
            ),
            bars(
                "What the operator did",
                "Steps, promotions, rollbacks, holds in the time shown; also the marks on every panel. Why: rolehost rollout "
                "why, or status.rollout.lastDecision.",
                "short",
                Query(top(10, grown(TRANSITIONS, ROLE, "action")), "{{action}}"),
            ),
            lines(
                "Sessions that left their revision",
                "Migrated at their next turn, drained, reset to a new state, dropped. Dropped ones are people cut off.",
                "cps",
                Query(rate(MOVED, ROLLOUT, "how"), "{{how}}"),
            ),
            bars(
                "Sessions that left, counted",
                "Over the time shown.",
                "short",
                Query(grown(MOVED, ROLLOUT, "how"), "{{how}}"),
            ),
            lines(
                "Looks at the evidence, all rollouts",
                "Of the operator, in Prometheus: `good`, or why there was none. All others at once: Prometheus is away, and "
                "every rollout holds.",
                "cps",
                Query(top(6, rate("rolehost_operator_analysis_looks_total", "", "outcome")), "{{outcome}}"),
                width=12,
            ),
            lines(
                "Age of evidence, all rollouts",
                "Since the last good look: the longest of all. Over two scrapes a verdict is unknown.",
                "s",
                Query("max(rolehost_operator_analysis_evidence_age_seconds)", "oldest"),
                width=12,
            ),
        ),
    )
