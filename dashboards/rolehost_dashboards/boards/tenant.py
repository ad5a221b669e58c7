"""One tenant: which of its Roles is loud, which fails, what it costs, and where it was told to stop."""

from rolehost_api import slo
from rolehost_dashboards.boards.board import Board, Section, Variable
from rolehost_dashboards.boards.marks import TENANTS_ROLLOUTS
from rolehost_dashboards.panels import GREEN, RED, YELLOW, Query, bars, grid, lines, number
from rolehost_dashboards.queries import TENANT, increase, part, quantile, rate, top

TURNS, FIRST = "rolehost_turns_total", "rolehost_turn_first_token_seconds"
JUDGED, TOKENS, COST = f"{slo.TURNS}_total", "rolehost_model_tokens_total", "rolehost_model_cost_micros_total"
MOST = 10
GOOD = f'outcome="{slo.GOOD}"'
FAILED = 'outcome!="completed"'
NOT_CANCELLED = f'{TENANT},outcome!="cancelled"'


def board() -> Board:
    return Board(
        name="tenant",
        title="rolehost: a tenant",
        description="One tenant's Roles beside each other, what they use and what was refused them.",
        variables=(Variable("tenant", "Tenant", f"label_values({TURNS}, tenant)"),),
        sections=(_now(), _roles(), _use(), _refusals()),
        notes=(TENANTS_ROLLOUTS,),
        links=(("role", "A Role"), ("sandbox", "Its pods"), ("rollout", "A rollout"), ("platform", "Platform")),
    )


def _now() -> Section:
    return Section(
        "Now",
        (
            number(
                "Roles that speak",
                "Roles with a turn in the last five minutes.",
                "short",
                Query(f"count(sum by (role) (increase({TURNS}{{{TENANT}}}[5m])) > 0)", "roles"),
            ),
            number(
                "Sessions",
                "That spoke within their idle timeout, over all gateways.",
                "short",
                Query(f"sum(rolehost_revision_sessions{{{TENANT}}})", "sessions"),
            ),
            number("Turns a second", "Turns that ended, however.", "reqps", Query(rate(TURNS, TENANT), "turns")),
            number(
                "Turns that failed",
                "Of all turns that no user cancelled.",
                "percentunit",
                Query(part(TURNS, FAILED, NOT_CANCELLED), "failed"),
                limits=((0.01, YELLOW), (0.05, RED)),
            ),
            number(
                "Tokens a second",
                "Of prompts and answers, over all model backends.",
                "cps",
                Query(rate(TOKENS, f'{TENANT},kind!="cached"'), "tokens"),
            ),
            number(
                "Cost in this time",
                "By the prices that ModelBackends declare, in their unit. None: no prices are declared.",
                "short",
                Query(f"{increase(COST, TENANT)} / 1e6", "cost"),
            ),
        ),
    )


def _roles() -> Section:
    return Section(
        "Its Roles",
        (
            lines(
                "Turns by Role",
                "The ten busiest.",
                "reqps",
                Query(top(MOST, rate(TURNS, TENANT, "role")), "{{role}}"),
                stacked=True,
            ),
            lines(
                "Failures by Role",
                "What part of each Role's turns failed. One line: that Role's logic or revision. All of them: a model "
                "backend or the platform.",
                "percentunit",
                Query(top(MOST, part(TURNS, FAILED, NOT_CANCELLED, "role")), "{{role}}"),
                limits=((0.01, YELLOW), (0.05, RED)),
            ),
            lines(
                "First token by Role, p95",
                "The ten slowest.",
                "s",
                Query(top(MOST, quantile(0.95, FIRST, TENANT, "role")), "{{role}}"),
            ),
            bars(
                "Good turns by objective, worst first",
                "Over the time shown; the targets are on each Role's own board.",
                "percentunit",
                Query(
                    f"bottomk({MOST}, {part(JUDGED, GOOD, TENANT, 'role, objective', '$__range')})",
                    "{{role}}: {{objective}}",
                ),
                width=12,
                limits=((float("-inf"), RED), (0.95, YELLOW), (0.99, GREEN)),
                ceiling=1,
            ),
            grid(
                "Roles",
                "The busiest Roles of the time shown, with their failures and what their users waited for.",
                "short",
                Query(top(MOST, increase(TURNS, TENANT, "role")), "turns"),
                Query(f"{top(MOST, increase(TURNS, f'{NOT_CANCELLED},{FAILED}', 'role'))}", "failed"),
                Query(top(MOST, quantile(0.5, FIRST, TENANT, "role", "$__range")), "first token p50"),
                Query(top(MOST, quantile(0.99, FIRST, TENANT, "role", "$__range")), "first token p99"),
                width=12,
                units={"first token p50": "s", "first token p99": "s"},
            ),
        ),
    )


def _use() -> Section:
    return Section(
        "What it uses",
        (
            lines(
                "Tokens by kind",
                "`cached` ones are among those of `input`: what a model server did not have to read again.",
                "cps",
                Query(rate(TOKENS, TENANT, "kind"), "{{kind}}"),
            ),
            lines(
                "Tokens by backend",
                "Input and output together.",
                "cps",
                Query(top(8, rate(TOKENS, f'{TENANT},kind!="cached"', "backend")), "{{backend}}"),
                stacked=True,
            ),
            lines(
                "Cost an hour",
                "By the declared prices; a jump here with the same turns is a longer prompt or another model.",
                "short",
                Query(top(8, f"3600 * {rate(COST, TENANT, 'backend')} / 1e6"), "{{backend}}"),
                stacked=True,
            ),
            lines(
                "Prompts that were cached, by Role",
                "What part of a prompt's tokens the server knew. Low for one Role: its prompt begins differently every turn.",
                "percentunit",
                Query(top(MOST, part("rolehost_prompt_tokens_total", 'cached="yes"', TENANT, "role")), "{{role}}"),
                ceiling=1,
            ),
            lines(
                "Sessions by Role",
                "The ten with the most.",
                "short",
                Query(top(MOST, f"sum by (role) (rolehost_revision_sessions{{{TENANT}}})"), "{{role}}"),
                stacked=True,
            ),
            lines(
                "Requests outside by Role",
                "Of tools and of the logic itself.",
                "reqps",
                Query(top(MOST, rate("rolehost_reach_requests_total", TENANT, "role")), "{{role}}"),
            ),
        ),
    )


def _refusals() -> Section:
    return Section(
        "Where it was told to stop",
        (
            lines(
                "Model calls over the budget",
                "Not begun, for the tenant's token budget was spent.",
                "cps",
                Query(top(8, rate("rolehost_model_over_budget_total", TENANT, "backend")), "{{backend}}"),
            ),
            lines(
                "New sessions refused",
                "By why; sessions that are there go on.",
                "cps",
                Query(top(8, rate("rolehost_new_sessions_refused_total", TENANT, "code")), "{{code}}"),
            ),
            lines(
                "Turns that limits refused, by Role",
                "Turns that no objective counts, for the user was over a limit.",
                "cps",
                Query(top(MOST, rate(f"{slo.EXCLUDED}_total", f'{TENANT},why="{slo.LIMITED}"', "role")), "{{role}}"),
            ),
        ),
    )
