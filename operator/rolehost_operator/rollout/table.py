"""The states of a rollout, what may happen in each, and where that leads. Nothing that is not here happens.

         begin            prepared         healthy, promote      (last step)            watched
Idle ──────────▶ Preparing ────────▶ Stepping ─────────┐ ──────────▶ Watching ──────────────▶ Idle
  ▲                  │   ▲             │  │  ▲─────────┘                │
  │ abort, replaced, │   └─ promote    │  │ overdue                    │ unhealthy, abort:
  │ unhealthy, gone  │      ┌──────────┘  ▼                            │ back to the earlier one
  └──────────────────┴──────┴───────── Stopped                         └──────────────▶ Idle
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class Stage(Enum):
    IDLE = ""
    PREPARING = "Preparing"
    STEPPING = "Stepping"
    WATCHING = "Watching"
    STOPPED = "Stopped"


class Occasion(Enum):
    BEGIN = "a revision is to earn its traffic"
    PREPARED = "its pods are Ready, its gates passed, nothing holds it"
    HEALTHY = "the step lasted long enough, and more than the margin is ruled out"
    PROMOTE = "somebody ends the step"
    UNHEALTHY = "it is worse"
    WORSE_AGAIN = "it is worse, and was rolled back before: that happens by itself once"
    OVERDUE = "it did not get on for too long"
    GATE_FAILED = "its evals failed"
    ABORT = "somebody gives it up"
    REPLACED = "another one is wanted"
    WATCHED = "it was watched for long enough, or somebody ends the watch"
    MOVED_ON = "while it is watched, another one is wanted"


class Move(Enum):
    BEGIN = "Preparing, at no percent"
    NEXT_STEP = "the first or next step; after the last one it is promoted"
    STOP = "no new sessions, nobody moved; a person decides"
    ROLL_BACK = "given up because it is worse"
    GIVE_UP = "given up for another reason"
    REVERT = "the earlier one is stable again"
    FINISH = "the earlier one leaves"


TABLE: Mapping[tuple[Stage, Occasion], Move] = MappingProxyType(
    {
        (Stage.IDLE, Occasion.BEGIN): Move.BEGIN,
        (Stage.PREPARING, Occasion.PREPARED): Move.NEXT_STEP,
        (Stage.PREPARING, Occasion.PROMOTE): Move.NEXT_STEP,
        (Stage.PREPARING, Occasion.OVERDUE): Move.STOP,
        (Stage.PREPARING, Occasion.GATE_FAILED): Move.GIVE_UP,
        (Stage.PREPARING, Occasion.ABORT): Move.GIVE_UP,
        (Stage.PREPARING, Occasion.REPLACED): Move.GIVE_UP,
        (Stage.STEPPING, Occasion.HEALTHY): Move.NEXT_STEP,
        (Stage.STEPPING, Occasion.PROMOTE): Move.NEXT_STEP,
        (Stage.STEPPING, Occasion.UNHEALTHY): Move.ROLL_BACK,
        (Stage.STEPPING, Occasion.WORSE_AGAIN): Move.STOP,
        (Stage.STEPPING, Occasion.OVERDUE): Move.STOP,
        (Stage.STEPPING, Occasion.GATE_FAILED): Move.GIVE_UP,
        (Stage.STEPPING, Occasion.ABORT): Move.GIVE_UP,
        (Stage.STEPPING, Occasion.REPLACED): Move.GIVE_UP,
        (Stage.STOPPED, Occasion.PROMOTE): Move.NEXT_STEP,
        (Stage.STOPPED, Occasion.GATE_FAILED): Move.GIVE_UP,
        (Stage.STOPPED, Occasion.ABORT): Move.GIVE_UP,
        (Stage.STOPPED, Occasion.REPLACED): Move.GIVE_UP,
        (Stage.WATCHING, Occasion.UNHEALTHY): Move.REVERT,
        (Stage.WATCHING, Occasion.ABORT): Move.REVERT,
        (Stage.WATCHING, Occasion.WATCHED): Move.FINISH,
        (Stage.WATCHING, Occasion.MOVED_ON): Move.FINISH,
    }
)
