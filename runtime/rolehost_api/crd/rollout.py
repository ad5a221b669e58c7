"""How a new revision earns its traffic: what a Role declares of it, and what its status says.

The operator decides and writes `status.traffic` and `status.rollout`; gateways read them there and
nowhere else. Percentages are of *new* sessions: nobody who is in a conversation is moved by a weight.
"""

from enum import Enum
from typing import Annotated, ClassVar

from msgspec import Meta, field

from rolehost_api.crd.common import Spec

Cel = tuple[tuple[str, str], ...]
_NAME = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_NUMBER = r"^-?[0-9]{1,12}(\.[0-9]{1,6})?$"


class Strategy(Enum):
    """How a new revision comes to serve."""

    ALL_AT_ONCE = "AllAtOnce"
    PROGRESSIVE = "Progressive"
    MANUAL = "Manual"
    EXPERIMENT = "Experiment"


class SessionPolicy(Enum):
    """What becomes of sessions on a revision that is given up."""

    MIGRATE_AT_TURN = "MigrateAtTurn"
    DRAIN = "Drain"
    TERMINATE = "Terminate"


class PromotionPolicy(Enum):
    """What becomes of sessions on the earlier revision once a new one is stable."""

    KEEP = "Keep"
    MIGRATE_AT_TURN = "MigrateAtTurn"


class MemoryPolicy(Enum):
    """What becomes of memories that a revision wrote which was rolled back."""

    KEEP = "Keep"
    QUARANTINE = "Quarantine"


class MetricAction(Enum):
    """What a custom metric beyond its bound does."""

    HOLD = "Hold"
    ROLLBACK = "Rollback"


class Arm(Enum):
    """Which side of the comparison a revision is on. Empty: it is not compared."""

    NONE = ""
    CANDIDATE = "Candidate"
    BASELINE = "Baseline"


class Step(Spec, frozen=True, kw_only=True):
    """A share of new sessions, for at least a while."""

    percent: Annotated[int, Meta(description="Of new sessions, to the new revision.", ge=1, le=100)]
    pause_seconds: Annotated[
        int, Meta(description="So long the step lasts at least, in seconds; evidence may take longer.", ge=0, le=86_400)
    ] = 60


WARM_UP_SECONDS = 25
"""A gateway gives its turns of a warm-up up after so long, and says that it is done."""
WARM_UP_WAIT_SECONDS = 30
"""Nobody waits for gateways any longer than this."""
PREPARING = "Preparing"
"""RolloutStatus.stage before the first step."""
DEFAULT_STEPS = (
    Step(percent=5, pause_seconds=60),
    Step(percent=25, pause_seconds=120),
    Step(percent=50, pause_seconds=120),
)


class Variant(Spec, frozen=True, kw_only=True):
    """One side of an experiment."""

    revision: Annotated[
        str, Meta(description="Its name, @r3, or the beginning of its hash.", min_length=1, max_length=253)
    ]
    percent: Annotated[int, Meta(description="Of new sessions, by user.", ge=1, le=99)]


class CustomMetric(Spec, frozen=True, kw_only=True):
    """A number that Prometheus tells. It gates promotion; it rolls back only where it says so."""

    __cel__: ClassVar[Cel] = (
        (
            "has(self.max) != has(self.min)",
            "give exactly one of max and min",
        ),
    )

    name: Annotated[str, Meta(description="Unique in this Role.", pattern=_NAME, max_length=63)]
    prom_ql: Annotated[
        str,
        Meta(
            description="A query that gives one number. In it $tenant, $role, $candidate and $baseline stand for the names.",
            min_length=1,
            max_length=2048,
        ),
    ] = field(name="promQL")
    max: (
        Annotated[str, Meta(description="The most that is good, as a string.", pattern=_NUMBER, max_length=20)] | None
    ) = None
    min: (
        Annotated[str, Meta(description="The least that is good, as a string.", pattern=_NUMBER, max_length=20)] | None
    ) = None
    failure_limit: Annotated[
        int, Meta(description="So many distinct samples in a row must be beyond the bound.", ge=1, le=100)
    ] = 3
    action: Annotated[MetricAction, Meta(description="Hold, or Rollback.")] = MetricAction.HOLD


class Gate(Spec, frozen=True, kw_only=True):
    """Somebody's word that a revision passed its evals, as an annotation of the RoleRevision."""

    name: Annotated[
        str,
        Meta(
            description="The first step begins when the RoleRevision has the annotation gate.rolehost.io/<name>: Passed; "
            "Failed gives the revision up. `rolehost eval --gate <name>` writes it.",
            pattern=_NAME,
            max_length=63,
        ),
    ]


class Analysis(Spec, frozen=True, kw_only=True):
    """What is held to be worse, and how sure one must be."""

    interval_seconds: Annotated[int, Meta(description="Between two looks, in seconds.", ge=1, le=300)] = 5
    min_turns: Annotated[
        int, Meta(description="A floor: no step ends before the new revision answered so many.", ge=0, le=1_000_000)
    ] = 50
    min_sessions: Annotated[
        int, Meta(description="A floor: no step ends before so many were begun on it.", ge=0, le=1_000_000)
    ] = 10
    margin_percent: Annotated[
        int,
        Meta(
            description="By so many points of percent its share of bad sessions may be above the stable one's. It is "
            "promoted when more than that is ruled out.",
            ge=1,
            le=50,
        ),
    ] = 2
    false_alarms_per_million: Annotated[
        int,
        Meta(
            description="Of a million rollouts of a revision that is no worse, so many are rolled back at most; as many "
            "of those that are worse by more than the margin are promoted at most. Split over what is compared.",
            ge=1,
            le=100_000,
        ),
    ] = 1_000
    metrics: Annotated[
        list[CustomMetric],
        Meta(description="Beside the Role's objectives.", max_length=8, extra={"list_map_key": "name"}),
    ] = []
    gates: Annotated[
        list[Gate], Meta(description="Before the first step.", max_length=8, extra={"list_map_key": "name"})
    ] = []


class WarmUp(Spec, frozen=True, kw_only=True):
    """Turns that nobody asked for, so that the first users of a new revision do not wait for what is still cold."""

    turns: Annotated[
        int,
        Meta(
            description="So many each gateway gives the new revision in all, spread over its pods, before its first "
            "session; 0: none, and nothing waits for them. They are nobody's session: nothing of them is kept, compared "
            "or carried out, but the tokens count against the budget.",
            ge=0,
            le=5,
        ),
    ] = 2
    message: Annotated[str, Meta(description="What is said to it.", min_length=1, max_length=4096)] = "Hello."


class Rollback(Spec, frozen=True, kw_only=True):
    session_policy: Annotated[
        SessionPolicy,
        Meta(
            description="MigrateAtTurn: to the stable revision at the boundary of a turn, the socket stays. Drain: they end "
            "where they are. Terminate: their sockets are closed."
        ),
    ] = SessionPolicy.MIGRATE_AT_TURN
    memory: Annotated[
        MemoryPolicy, Meta(description="Of what the revision remembered: Keep, or Quarantine: not recalled any more.")
    ] = MemoryPolicy.KEEP


class Promotion(Spec, frozen=True, kw_only=True):
    session_policy: Annotated[
        PromotionPolicy,
        Meta(description="Keep: sessions stay on the earlier revision for drain.maxSeconds. MigrateAtTurn: they move."),
    ] = PromotionPolicy.KEEP


class Drain(Spec, frozen=True, kw_only=True):
    max_seconds: Annotated[
        int,
        Meta(
            description="So long sessions stay on a revision that takes no new ones, then they move at their next turn, "
            "in seconds.",
            ge=0,
            le=604_800,
        ),
    ] = 7_200


class Rollout(Spec, frozen=True, kw_only=True):
    """How a changed template comes to serve. Not hashed."""

    __cel__: ClassVar[Cel] = (
        (
            "!has(self.steps) || self.steps.map(step, step.percent).isSorted()",
            "the steps' percentages must rise",
        ),
        (
            "self.strategy != 'Experiment' || (has(self.variants) && self.variants.size() > 0)",
            "an Experiment needs variants",
        ),
        (
            "!has(self.variants) || self.variants.map(one, one.percent).sum() <= 99",
            "the variants' percentages must leave at least 1 for the stable revision",
        ),
    )

    strategy: Annotated[
        Strategy,
        Meta(
            description="AllAtOnce: as soon as it is Ready. Progressive: by steps, judged at each. Manual: by steps, each "
            "ended by `rolehost rollout promote`. Experiment: variants side by side."
        ),
    ] = Strategy.ALL_AT_ONCE
    steps: Annotated[
        list[Step],
        Meta(
            description="With rising percentages; without any: 5 % for 60 s, 25 % and 50 % for 120 s each.",
            max_length=20,
        ),
    ] = []
    variants: Annotated[
        list[Variant],
        Meta(
            description="Of an Experiment: who is not in one of them gets the stable revision. They stay as they were "
            "when it began.",
            max_length=2,
            extra={"list_map_key": "revision"},
        ),
    ] = []
    warm_up: Annotated[
        WarmUp,
        Meta(
            description="Before the first step: what is new is warmed. AllAtOnce waits for nothing and warms nothing."
        ),
    ] = WarmUp()
    analysis: Annotated[Analysis, Meta(description="How it is judged.")] = Analysis()
    progress_deadline_seconds: Annotated[
        int,
        Meta(
            description="A rollout that does not get on for so long takes no new sessions any more and pauses, in seconds; "
            "nobody is moved.",
            ge=10,
            le=604_800,
        ),
    ] = 3_600
    watch_seconds: Annotated[
        int,
        Meta(
            description="So long after promotion the earlier revision stays warm, with 5 % of new sessions for comparison, "
            "in seconds.",
            ge=0,
            le=86_400,
        ),
    ] = 600
    cooldown_seconds: Annotated[
        int,
        Meta(
            description="So long after an automatic rollback no rollout begins by itself, in seconds.", ge=0, le=86_400
        ),
    ] = 1_800
    rollback: Annotated[Rollback, Meta(description="What a rollback does.")] = Rollback()
    promotion: Annotated[Promotion, Meta(description="What a promotion does.")] = Promotion()
    drain: Annotated[Drain, Meta(description="How long sessions keep a revision that takes no new ones.")] = Drain()
    allow_state_reset: Annotated[
        bool,
        Meta(
            description="A rollback may begin sessions' typed state anew, where the stable revision cannot read the new "
            "one's; their conversation stays."
        ),
    ] = False
    paused: Annotated[bool, Meta(description="Nothing advances; weights stay as they are.")] = False
    pinned_revision: Annotated[
        str,
        Meta(
            description="All new sessions go to this revision, whatever the template says: its name, @r3, or the beginning "
            "of its hash.",
            max_length=253,
        ),
    ] = ""

    @property
    def ladder(self) -> tuple[Step, ...]:
        """The steps that it goes by, whether they are declared or the default ones.

        >>> [step.percent for step in Rollout().ladder]
        [5, 25, 50]
        """
        return tuple(self.steps) or DEFAULT_STEPS

    def pause_of(self, step: int) -> int:
        """Seconds that a step lasts at least. They are counted from 1; one beyond those declared lasts as the last of them.

        >>> [Rollout(steps=[Step(percent=10, pause_seconds=7), Step(percent=50)]).pause_of(step) for step in range(4)]
        [0, 7, 60, 60]
        """
        return self.ladder[min(step, len(self.ladder)) - 1].pause_seconds if step > 0 else 0


# ── status ──────────────────────────────────────────────────────────────────────────


class Share(Spec, frozen=True, kw_only=True):
    """Where new sessions go. Shares stand in the order of buckets: the first has the lowest."""

    revision: Annotated[str, Meta(description="Its name.", max_length=253)]
    percent: Annotated[int, Meta(description="Of new sessions.", ge=0, le=100)]
    tag: Annotated[str, Meta(description="stable, canary, previous or variant.", max_length=16)] = "stable"
    arm: Annotated[Arm, Meta(description="Candidate or Baseline, while it is compared.")] = Arm.NONE


class Leaving(Spec, frozen=True, kw_only=True):
    """A revision that lost its new sessions, and what becomes of those that it has."""

    revision: Annotated[str, Meta(description="Its name.", max_length=253)]
    policy: Annotated[SessionPolicy, Meta(description="MigrateAtTurn, Drain or Terminate.")]
    reason: Annotated[str, Meta(description="rollback, promotion or experiment.", max_length=32)]
    since: Annotated[str, Meta(description="RFC 3339.", max_length=40)]
    until: Annotated[
        str, Meta(description="Of a drain: from then on they move at their next turn, RFC 3339.", max_length=40)
    ] = ""
    memory: Annotated[MemoryPolicy, Meta(description="Of what it remembered.")] = MemoryPolicy.KEEP


class Decision(Spec, frozen=True, kw_only=True):
    """The last thing that was decided, and the numbers that it rests on."""

    action: Annotated[str, Meta(description="Advance, Promote, Hold, Rollback, Pause, Abort or Finish.", max_length=32)]
    verdict: Annotated[str, Meta(description="Healthy, Unhealthy or Unknown.", max_length=16)] = ""
    reason: Annotated[str, Meta(description="A stable CamelCase word for machines.", max_length=64)] = ""
    message: Annotated[str, Meta(description="A sentence for people: what is so, and what to do.", max_length=1024)] = (
        ""
    )
    metric: Annotated[str, Meta(description="What it rests on.", max_length=128)] = ""
    value: Annotated[str, Meta(description="What was seen.", max_length=64)] = ""
    threshold: Annotated[str, Meta(description="What it was held against.", max_length=64)] = ""
    samples: Annotated[int, Meta(description="Sessions of the new revision that were judged.", ge=0)] = 0
    samples_expected: Annotated[
        int, Meta(description="That many more are expected to be needed; 0: not known.", ge=0)
    ] = 0
    window_seconds: Annotated[int, Meta(description="Since when they were counted, in seconds.", ge=0)] = 0
    alpha: Annotated[
        str, Meta(description="Error that this comparison may make: its part of the whole.", max_length=32)
    ] = ""
    confounders: Annotated[
        list[Annotated[str, Meta(description="One difference.", max_length=256)]],
        Meta(description="What else differs between the two sides.", max_length=8),
    ] = []
    at: Annotated[str, Meta(description="RFC 3339.", max_length=40)] = ""


class Past(Spec, frozen=True, kw_only=True):
    """One that ended."""

    revision: Annotated[str, Meta(description="Its name.", max_length=253)]
    action: Annotated[str, Meta(description="Promoted, RolledBack, Aborted, Superseded or Finished.", max_length=32)]
    at: Annotated[str, Meta(description="RFC 3339.", max_length=40)]
    reason: Annotated[str, Meta(description="A stable CamelCase word for machines.", max_length=64)] = ""
    automatic: Annotated[bool, Meta(description="Nobody asked for it.")] = False


class Counts(Spec, frozen=True, kw_only=True):
    """Sessions that a rollback or promotion concerned, over all gateways, as last counted."""

    migrated: Annotated[int, Meta(description="Moved to another revision at the boundary of a turn.", ge=0)] = 0
    drained: Annotated[int, Meta(description="Ended on the revision that they were on.", ge=0)] = 0
    dropped: Annotated[int, Meta(description="Their sockets were closed.", ge=0)] = 0
    reset: Annotated[int, Meta(description="Of those that moved: their typed state began anew.", ge=0)] = 0


class RolloutStatus(Spec, frozen=True, kw_only=True):
    """What goes on, or what ended last."""

    id: Annotated[
        str, Meta(description="Of this attempt: buckets are salted with it, annotations name it.", max_length=64)
    ] = ""
    attempt: Annotated[int, Meta(description="Counts the rollouts of this Role.", ge=0)] = 0
    strategy: Annotated[Strategy | None, Meta(description="As it began.")] = None
    revision: Annotated[str, Meta(description="The new one.", max_length=253)] = ""
    previous: Annotated[str, Meta(description="The one that was stable when it began.", max_length=253)] = ""
    stage: Annotated[
        str,
        Meta(
            description="Empty: nothing goes on. Preparing: pods and gates. Stepping: it earns its traffic. Watching: it is "
            "stable, and watched. Stopped: it takes no new sessions until somebody decides.",
            max_length=16,
        ),
    ] = ""
    step: Annotated[int, Meta(description="From 1; 0 before the first.", ge=0)] = 0
    steps: Annotated[int, Meta(description="How many there are.", ge=0)] = 0
    percent: Annotated[int, Meta(description="Of new sessions, to the new one.", ge=0, le=100)] = 0
    started_at: Annotated[str, Meta(description="RFC 3339.", max_length=40)] = ""
    step_started_at: Annotated[str, Meta(description="RFC 3339.", max_length=40)] = ""
    progressed_at: Annotated[
        str, Meta(description="When it last got on: the deadline counts from then.", max_length=40)
    ] = ""
    warming_since: Annotated[
        str,
        Meta(
            description="When all else was ready and the gateways were told to warm it, RFC 3339; empty: not yet.",
            max_length=40,
        ),
    ] = ""
    epoch: Annotated[
        int, Meta(description="Of the evidence: what was counted under an earlier one does not count any more.", ge=0)
    ] = 0
    variants: Annotated[list[Variant], Meta(description="Of an experiment, as it began.", max_length=2)] = []
    backends: Annotated[
        str,
        Meta(
            description="Hash of the ModelBackends that answer for the two sides: when one changes, the epoch is another.",
            max_length=32,
        ),
    ] = ""
    last_decision: Annotated[Decision | None, Meta(description="The last one.")] = None
    sessions: Annotated[Counts, Meta(description="Of this attempt.")] = Counts()
    obeyed: Annotated[
        str, Meta(description="The word of the last annotation that was carried out: action and id.", max_length=128)
    ] = ""
