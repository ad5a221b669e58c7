"""Pods: whether they are what was asked for, whether they serve, and what their tenant's logic does to them."""

from rolehost_dashboards.boards.board import Board, Section, Variable
from rolehost_dashboards.panels import RED, YELLOW, Limits, Query, bars, lines, number
from rolehost_dashboards.queries import grown, rate, top

OF = 'tenant=~"$tenant",role=~"$role"'
REVISION = "{{tenant}}/{{revision}}"

STATES: tuple[tuple[str, str, str, Limits], ...] = (
    ("Pods that serve", "Bound to a revision, with its logic loaded.", "loaded", ()),
    ("Pods that wait", "Not bound yet. For longer than a minute: look at failures of links.", "waiting", ((1, YELLOW),)),
    ("Pods that failed", "Their logic does not load; `rolehost logs` has the traceback.", "failed", ((1, RED),)),
    ("Sandboxes that leak", "Refused: their probe found a way out, a token, or no gVisor. No tenant byte went there.", "refused", ((1, RED),)),
)  # fmt: skip
"""Numbers of pods: title, description, state."""


def board() -> Board:
    return Board(
        name="sandbox",
        title="rolehost: pods",
        description="Sandbox pods of a tenant: bound, linked, full, failing, or not what they say they are.",
        variables=(
            Variable("tenant", "Tenant", "label_values(rolehost_pods, tenant)", many=True),
            Variable("role", "Role", 'label_values(rolehost_pods{tenant=~"$tenant"}, role)', many=True),
        ),
        sections=(_now(), _pods(), _links(), _logic()),
        links=(("role", "A Role"), ("tenant", "A tenant"), ("rollout", "A rollout"), ("platform", "Platform")),
    )


def _now() -> Section:
    return Section(
        "Now",
        (
            *(
                number(
                    title,
                    description,
                    "short",
                    Query(f'sum(rolehost_pods{{{OF},state="{state}"}})', "pods"),
                    limits=limits,
                )
                for title, description, state, limits in STATES
            ),
            number(
                "Pods nobody vouches for",
                "They say that they are sandboxes, and Kubernetes does not say the same. They are never dialled.",
                "short",
                Query('sum(max by (tenant) (rolehost_pods_unproved{tenant=~"$tenant"}))', "pods"),
                limits=((1, RED),),
            ),
            number(
                "Links that stand",
                "Of the pods that their gateways bind.",
                "short",
                Query(f"sum(rolehost_links{{{OF}}})", "links"),
            ),
        ),
    )


def _pods() -> Section:
    return Section(
        "Pods and sessions",
        (
            lines(
                "Pods by state",
                "Of the Roles chosen above; each pod is counted by the one gateway that binds it.",
                "short",
                Query(f"sum by (state) (rolehost_pods{{{OF}}})", "{{state}}"),
                stacked=True,
            ),
            lines(
                "Sessions on the fullest pod",
                "By revision, the ten fullest. At spec.sessions.maxPerPod new sessions go elsewhere or wait.",
                "short",
                Query(top(10, f"max by (tenant, revision) (rolehost_pod_sessions_max{{{OF}}})"), REVISION),
            ),
            lines(
                "Sessions a pod",
                "On the mean of each revision's loaded pods.",
                "short",
                Query(
                    top(
                        10,
                        f"sum by (tenant, revision) (rolehost_revision_sessions{{{OF}}}) / on (tenant, revision)"
                        f' (sum by (tenant, revision) (rolehost_pods{{{OF},state="loaded"}}) > 0)',
                    ),
                    REVISION,
                ),
            ),
            lines(
                "Pods by revision",
                "A revision that nobody talks to goes after its window; more than three of one Role there never are.",
                "short",
                Query(top(10, f"sum by (tenant, revision) (rolehost_pods{{{OF}}})"), REVISION),
                width=12,
                stacked=True,
            ),
            lines(
                "Sessions by revision",
                "That spoke within their idle timeout.",
                "short",
                Query(top(10, f"sum by (tenant, revision) (rolehost_revision_sessions{{{OF}}})"), REVISION),
                width=12,
                stacked=True,
            ),
        ),
    )


def _links() -> Section:
    return Section(
        "Links, of all tenants",
        (
            bars(
                "Binds",
                "In this time, by what came of them: `ok`, or a load error's code. That code is the tenant's to mend.",
                "short",
                Query(top(8, grown("rolehost_link_binds_total", "", "outcome")), "{{outcome}}"),
            ),
            bars(
                "Failures of links",
                "In this time. `pod_unreachable` while pods start is usual. `sandbox_breached` and violations never are.",
                "short",
                Query(top(8, grown("rolehost_link_failures_total", "", "code")), "{{code}}"),
            ),
            lines(
                "Listeners that are not the pod",
                "At a pod's address somebody else answered, or could not prove it is that pod. Nothing was sent to it.",
                "cps",
                Query(rate("rolehost_gateway_pods_not_attested_total"), "not attested"),
                limits=((0.0001, RED),),
            ),
        ),
    )


def _logic() -> Section:
    ended = "rolehost_sandbox_workers_ended_total"
    return Section(
        "What logic does to its pod",
        (
            lines(
                "Workers ended, by code",
                "`hook_deadline`: a hook took too long. `hook_died`: out of memory, killed by seccomp, or it ended itself. "
                "`logic_unavailable`: the turn failed for it.",
                "cps",
                Query(top(6, rate(ended, OF, "code")), "{{code}}"),
                width=12,
            ),
            lines(
                "Workers ended, by Role",
                "The ten that lose most. Other Roles do not feel it: each has pods of its own.",
                "cps",
                Query(top(10, rate(ended, OF, "tenant, role")), "{{tenant}}/{{role}}"),
                width=12,
            ),
        ),
    )
