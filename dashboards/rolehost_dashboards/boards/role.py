"""One Role: what its users feel, what of its error budget is left, and where the time of a turn goes."""

from rolehost_api import slo
from rolehost_dashboards.boards.board import Board, Section, Variable
from rolehost_dashboards.boards.marks import ROLLOUTS
from rolehost_dashboards.panels import GREEN, RED, YELLOW, Query, bars, heat, lines, number, percentiles
from rolehost_dashboards.queries import REVISION, ROLE, part, quantile, rate, top

FIRST, TOTAL = "rolehost_turn_first_token_seconds", "rolehost_turn_seconds"
KNOWN = f'{REVISION},revision!=""'
"""Turns that had come to a revision."""
TURNS = "rolehost_turns_total"
JUDGED, BAD = f"{slo.TURNS}_total", f'outcome="{slo.BAD}"'


def board() -> Board:
    return Board(
        name="role",
        title="rolehost: a Role",
        description="One Role: its users' side, its error budget, its time and its parts.",
        variables=(
            Variable("tenant", "Tenant", f"label_values({TURNS}, tenant)"),
            Variable("role", "Role", f'label_values({TURNS}{{tenant="$tenant"}}, role)'),
            Variable("revision", "Revision", f"label_values({TOTAL}_count{{{ROLE}}}, revision)", many=True),
        ),
        sections=(_users(), _objectives(), _time(), _parts()),
        notes=(ROLLOUTS,),
        links=(("rollout", "Its rollout"), ("tenant", "Its tenant"), ("sandbox", "Its pods"), ("platform", "Platform")),
    )


def _users() -> Section:
    return Section(
        "What users feel",
        (
            number(
                "Turns a second",
                "Turns that ended, however. No number: nobody speaks with this Role, or no gateway is scraped.",
                "reqps",
                Query(rate(TURNS, ROLE), "turns"),
            ),
            number(
                "Turns that failed",
                "Of all turns that the user did not cancel. From 1 % on look at the outcomes beside it.",
                "percentunit",
                Query(part(TURNS, 'outcome!="completed"', f'{ROLE},outcome!="cancelled"'), "failed"),
                limits=((0.01, YELLOW), (0.05, RED)),
            ),
            number(
                "First token, p95",
                "From the accepted message to the first text of the answer, queue included.",
                "s",
                Query(quantile(0.95, FIRST, REVISION), "p95"),
                limits=((2.5, YELLOW), (10, RED)),
            ),
            number(
                "Whole turn, p95",
                "From the accepted message until the turn is durable.",
                "s",
                Query(quantile(0.95, TOTAL, REVISION), "p95"),
            ),
            number(
                "Sessions",
                "That spoke within their idle timeout, on the revisions chosen above.",
                "short",
                Query(f"sum(rolehost_revision_sessions{{{REVISION}}})", "sessions"),
            ),
            number(
                "Fullest pod",
                "Sessions on the fullest pod of any revision chosen above; spec.sessions.maxPerPod bounds it.",
                "short",
                Query(f"max(rolehost_pod_sessions_max{{{REVISION}}})", "sessions"),
            ),
            lines(
                "Turns by outcome",
                "A stable code for each way to end. `logic_error` is the tenant's; what begins with `model` is a provider's.",
                "reqps",
                Query(top(10, rate(TURNS, ROLE, "outcome")), "{{outcome}}"),
                stacked=True,
            ),
            lines(
                "First token",
                "All revisions chosen above. The dots are exemplars: each leads to the trace of a turn.",
                "s",
                *percentiles(FIRST, REVISION),
            ),
            lines(
                "Whole turn",
                "All revisions chosen above, until the turn is durable.",
                "s",
                *percentiles(TOTAL, REVISION),
            ),
            lines(
                "First token by revision, p95",
                "Two revisions that part here after a rollout began: look at its own board.",
                "s",
                Query(top(6, quantile(0.95, FIRST, KNOWN, "revision")), "{{revision}}"),
            ),
            lines(
                "Whole turn by revision, p99",
                "The slowest hundredth of each revision.",
                "s",
                Query(top(6, quantile(0.99, TOTAL, KNOWN, "revision")), "{{revision}}"),
            ),
            heat(
                "First token, all of them",
                "Two bands are two kinds of turns: with a tool and without, cached prompt or not. A mean would hide both.",
                "s",
                rate(f"{FIRST}_bucket", REVISION, "le"),
            ),
        ),
    )


def _objectives() -> Section:
    target = f"(1 - max by (objective) ({slo.TARGET}{{{ROLE}}} >= 0))"
    return Section(
        "Objectives",
        (
            bars(
                "Budget left",
                "Of 28 days, or of what Prometheus remembers of them, by objective. Below nought the objective is missed: "
                "whoever deploys to this Role waits.",
                "percentunit",
                Query(f"1 - {_bad('28d')} / on (objective) {target}", "{{objective}}"),
                limits=((float("-inf"), RED), (0.0001, YELLOW), (0.25, GREEN)),
                ceiling=1,
            ),
            lines(
                "Burn rate",
                "1 spends the budget in just its window; 14.4 over an hour pages, 6 over six hours does, and 3 over a day "
                "is a ticket. This is the rate over five minutes.",
                "short",
                Query(f"{_bad('5m')} / on (objective) {target}", "{{objective}}"),
                limits=((1, YELLOW), (6, RED), (14.4, RED)),
            ),
            lines(
                "Burn rate, slowly",
                "The same over an hour and over six: what an alert is made of, without the noise.",
                "short",
                Query(f"{_bad('1h')} / on (objective) {target}", "{{objective}} over 1h"),
                Query(f"{_bad('6h')} / on (objective) {target}", "{{objective}} over 6h"),
                limits=((1, YELLOW), (6, RED), (14.4, RED)),
            ),
            lines(
                "Good turns against their targets",
                "Each objective judges a turn by itself; a dotted name with `target` is where it has to stay above.",
                "percentunit",
                Query(part(JUDGED, f'outcome="{slo.GOOD}"', ROLE, "objective"), "{{objective}}"),
                Query(f"max by (objective) ({slo.TARGET}{{{ROLE}}} >= 0)", "{{objective}} target"),
                width=12,
                ceiling=1,
            ),
            lines(
                "Turns that no objective counts",
                "Cancelled by the user, invalid, refused by a limit, or begun by a timer. Many of `limited`: look at the "
                "tenant's budget.",
                "reqps",
                Query(rate(f"{slo.EXCLUDED}_total", ROLE, "why"), "{{why}}"),
                width=12,
            ),
        ),
    )


def _bad(span: str) -> str:
    """What part of judged turns was bad, by objective."""
    return f"({part(JUDGED, BAD, ROLE, 'objective', span)})"


def _time() -> Section:
    stage, commit, model = "rolehost_turn_stage_seconds", "rolehost_turn_commit_seconds", "rolehost_model_call_seconds"
    reach = "rolehost_reach_seconds"
    return Section(
        "Where the time goes",
        (
            lines(
                "A mean turn's receipt",
                "The parts of `metrics` in response.done, on top of each other: the session's queue, the way to a pod (route), "
                "the Role's hooks, what it recalls, the wait for the first text, the rest of the model's time, the rest of "
                "all (tools), the commit.",
                "s",
                Query(
                    f"{rate(f'{stage}_sum', ROLE, 'stage')} / on (stage) {rate(f'{stage}_count', ROLE, 'stage')}",
                    "{{stage}}",
                ),
                width=12,
                stacked=True,
            ),
            lines(
                "One model call",
                "Until the model server is done, retries and waiting among it. The dots are exemplars.",
                "s",
                *percentiles(model, ROLE),
                width=12,
            ),
            lines("One commit", "One call to Redis, fsync and replicas included.", "s", *percentiles(commit, ROLE)),
            lines(
                "Servers outside",
                "Requests of tools and of the logic itself, redirects and waiting among it.",
                "s",
                *percentiles(reach, ROLE),
            ),
            lines(
                "Workers that pods ended",
                "A hook over its deadline (`hook_deadline`) or a process that died (`hook_died`); a turn goes on without "
                "the hook until it fails as `logic_unavailable`.",
                "cps",
                Query(top(6, rate("rolehost_sandbox_workers_ended_total", ROLE, "code")), "{{code}}"),
            ),
        ),
    )


def _parts() -> Section:
    return Section(
        "Its parts",
        (
            lines(
                "Model calls",
                "By outcome; several may belong to one turn, where it uses tools.",
                "reqps",
                Query(top(8, rate("rolehost_model_calls_total", ROLE, "outcome")), "{{outcome}}"),
            ),
            lines(
                "Tokens of prompts",
                "`yes`: the server had them from an earlier prompt. A fall of that share is a prompt whose beginning "
                "changes every turn.",
                "cps",
                Query(rate("rolehost_prompt_tokens_total", ROLE, "cached"), "cached: {{cached}}"),
                stacked=True,
            ),
            lines(
                "Tool calls",
                "The most called ones; an outcome other than `ok` says why it came to nothing.",
                "reqps",
                Query(top(10, rate("rolehost_tool_calls_total", ROLE, "tool, outcome")), "{{tool}}: {{outcome}}"),
            ),
            lines(
                "Requests to servers outside",
                "By the class of the answer, or the code that they failed with.",
                "reqps",
                Query(top(8, rate("rolehost_reach_requests_total", ROLE, "outcome")), "{{outcome}}"),
            ),
            lines(
                "Guards' decisions",
                "Of turns that are durable, once a turn. A jump of one category is an attack, or a rule that is too broad.",
                "reqps",
                Query(
                    top(10, rate("rolehost_guard_decisions_total", ROLE, "action, category")),
                    "{{action}}: {{category}}",
                ),
            ),
            lines(
                "Texts that a guard could not judge",
                "And what counted then: `open` let them through, `closed` did not.",
                "reqps",
                Query(top(8, rate("rolehost_guard_failures_total", ROLE, "policy, code")), "{{policy}}: {{code}}"),
            ),
            lines(
                "Steps of the behaviour graph",
                "None while turns go on: the graph is stuck in a node, or there is none.",
                "cps",
                Query(rate("rolehost_behavior_transitions_total", ROLE), "steps"),
            ),
            lines(
                "Entries of the lorebook",
                "Told to the model, or left out over the budget.",
                "cps",
                Query(top(4, rate("rolehost_lore_entries_total", ROLE, "outcome")), "{{outcome}}"),
            ),
            lines(
                "What user-scope state overrode",
                "Values that a turn overrode without having seen them: several sessions of one person at once.",
                "cps",
                Query(rate("rolehost_user_state_overridden_total", ROLE), "values"),
            ),
        ),
    )
