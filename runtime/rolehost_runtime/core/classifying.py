"""What became of a turn, held against its Role's objectives: good, bad, or left out and why. Pure.

    completed, filtered ──▶ Success good; Latency by its time
    cancelled           ──▶ left out, unless it had kept its user waiting
    limited, invalid    ──▶ left out: nothing was promised for it
    anything else       ──▶ bad, for Latency too: nobody got an answer in time

Latency counts from the moment a message was accepted, its time in line included, to its first text or to its end. A
provider's failure is the Role's: its users wait for an answer, whoever owes it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rolehost_api.crd.role import Measure, Objective, ObjectiveType
from rolehost_api.slo import BAD, CANCELLED, GOOD, INVALID, LIMITED, UNASKED

LEFT_OUT = ""
"""In a turn's marks: this objective says nothing of it."""
COMPLETED, FILTERED = "completed", "filtered"
"""Outcomes of turns that are durable, beside `cancelled`."""
WAITED_MS = 10_000
"""Who hears not a word for so long and leaves was kept waiting: that is no change of mind."""
DEADLINE_MS = 1_000
"""A client's own deadline that is shorter than this is taken for a change of mind; nobody promised to be so fast."""

_CANCELLED = "cancelled client_gone deadline_exceeded"
_LIMITED = """
    budget_exhausted busy session_full tenant_over_share tenant_sessions_full too_many_forks too_many_kept
    too_many_sessions
"""
_INVALID = """
    already_open at_seq_inside_a_turn at_seq_too_high bad_request binary_not_supported body_too_large body_too_slow
    confirm_not_allowed content_not_supported forbidden fork_too_long format_not_supported frame_flood
    frame_too_large greeting_not_found host_not_allowed invalid_after invalid_after_seq invalid_after_version
    invalid_at_seq invalid_bundle invalid_frame invalid_last_event_id invalid_limit invalid_manifest invalid_query
    invalid_request invalid_role_name invalid_session_id invalid_turn invalid_user invalid_utf8 invalid_wait
    key_changed key_in_url key_revoked last_message_not_user logs_off malformed_json malformed_protobuf
    memory_not_found message_too_long method_not_allowed n_not_supported no_platform no_tokens no_uploads
    not_acceptable not_found nothing_to_fork open_expected open_timeout origin_not_allowed path_not_found
    protocol_violation receipt_not_found response_not_found revision_not_allowed revision_not_found role_not_found session_id_needed
    session_not_found slow_client speaker_not_supported token_expired token_invalid token_not_yet_valid
    token_revoked turn_not_found unauthorized unknown_type user_not_allowed whose_memory
"""
_BAD = """
    archive_unavailable backend_not_found backend_not_served bad_attestation_root bind_timeout bound_elsewhere
    cancel_unavailable conflict context_too_long corrupt_record counter_too_large declared_twice draining
    embedding_refused emit_too_large foreign_await forget_unfinished guard_invalid guard_not_found held_elsewhere
    hook_over http_busy http_failed http_invalid_request http_invalid_url http_not_granted http_off
    http_rate_limited http_refused_address http_timeout http_too_large http_too_many_redirects http_unreachable
    internal invalid_archive_url invalid_behavior invalid_emit invalid_expression invalid_memory invalid_patch
    invalid_persona invalid_prompt invalid_redis_url invalid_settings invalid_state invalid_template invalid_tool
    link_version log_trimmed logic_error mcp_failed mcp_version memory_full model_busy model_circuit_open
    model_key_invalid model_key_missing model_key_refused model_not_found model_not_served model_overloaded
    model_refused model_timeout model_unavailable no_answer no_effects_here no_pod_ready no_ready_revision
    no_such_hook not_bound_yet not_supported overloaded owner_lost permission_denied plugin_not_found pod_lost
    pod_stalled pod_unreachable pods_full port_taken replay_diverged reply_too_large response_lost response_reset
    resume_lost revision_left revision_mismatch revision_not_seen revision_unknown_recipe safety_too_large
    sandbox_breached segment_not_found segment_too_large session_changed session_moving state_forbidden state_full
    state_overloaded state_too_large state_unavailable stopping superseded text_too_large text_too_long
    too_many_effects too_many_emitted too_many_memories too_many_model_calls too_many_overrides too_many_questions
    too_many_readers too_many_timers tool_key_missing turn_given_up turn_timeout turn_tokens_spent unavailable
    unknown_edge unknown_node unknown_subgraph unknown_tool upload_unavailable warming_up
"""

FATES: Mapping[str, str] = {
    COMPLETED: GOOD,
    FILTERED: GOOD,
    **dict.fromkeys(_CANCELLED.split(), CANCELLED),
    **dict.fromkeys(_LIMITED.split(), LIMITED),
    **dict.fromkeys(_INVALID.split(), INVALID),
    **dict.fromkeys(_BAD.split(), BAD),
}
"""By how a turn ended: the status of a durable one, else a stable code. A code that is not here is bad. A limit is one that
is set for this tenant, user or session; a bound that our own machines or a model's server reached is bad, and so is one
that the revision's own logic ran into."""


class Rules(NamedTuple):
    """A Role's objectives, as turns are held against them."""

    names: tuple[str, ...]
    bounds: tuple[tuple[bool, float] | None, ...]
    """Of each: None for Success; for Latency whether it counts to the end, and the most milliseconds."""


class Classified(NamedTuple):
    """One turn."""

    marks: tuple[str, ...]
    """In the order of the objectives: GOOD, BAD or LEFT_OUT."""
    why: str = ""
    """Of one that an objective or all leave out: CANCELLED, INVALID, LIMITED or UNASKED; empty for one that counts for all."""

    @property
    def was_one(self) -> bool:
        """Somebody asked, and it began: its place among the turns of its session is taken."""
        return self.why in ("", CANCELLED)


def rules_of(objectives: Sequence[Objective]) -> Rules:
    """What is needed of them for each turn.

    >>> rules_of([Objective(name="fast", type=ObjectiveType.LATENCY, target="95", threshold_milliseconds=800)])
    Rules(names=('fast',), bounds=((False, 800),))
    """
    return Rules(
        tuple(one.name for one in objectives),
        tuple(
            (one.measure is Measure.COMPLETE, one.threshold_milliseconds or 0)
            if one.type is ObjectiveType.LATENCY
            else None
            for one in objectives
        ),
    )


def classify(rules: Rules, outcome: str, ttft_ms: float | None, total_ms: float, *, asked: bool = True) -> Classified:
    """`outcome`: a durable turn's status, else the code it failed with. `ttft_ms`: to its first text, None where it had
    none. `asked`: somebody said something; what a timer says on its own was promised to nobody.

    >>> rules = Rules(("works", "fast"), (None, (False, 800)))
    >>> classify(rules, "completed", 300, 2_000), classify(rules, "completed", 900, 2_000)
    (Classified(marks=('good', 'good'), why=''), Classified(marks=('good', 'bad'), why=''))

    Nobody was answered, however soon that was known; and what is refused by a limit was not promised:

    >>> classify(rules, "no_pod_ready", None, 12), classify(rules, "busy", None, 1)
    (Classified(marks=('bad', 'bad'), why=''), Classified(marks=('', ''), why='limited'))

    Cut short by the user: soon, so that nothing can be said of it; late; after ten seconds without a word; in mid-answer:

    >>> classify(rules, "cancelled", None, 500), classify(rules, "cancelled", None, 900)
    (Classified(marks=('', ''), why='cancelled'), Classified(marks=('', 'bad'), why='cancelled'))
    >>> classify(rules, "cancelled", None, 12_000), classify(rules, "cancelled", 300, 1_500)
    (Classified(marks=('bad', 'bad'), why=''), Classified(marks=('', 'good'), why='cancelled'))

    By its client's own deadline: one second is time enough to be held to it.

    >>> classify(rules, "deadline_exceeded", None, 100), classify(rules, "deadline_exceeded", None, 5_000).marks
    (Classified(marks=('', ''), why='cancelled'), ('bad', 'bad'))
    """
    fate = FATES.get(outcome, BAD) if asked else UNASKED
    if fate is GOOD:
        first = total_ms if ttft_ms is None else ttft_ms
        return Classified(
            tuple(
                [
                    GOOD if bound is None or (total_ms if bound[0] else first) <= bound[1] else BAD
                    for bound in rules.bounds
                ]
            )
        )
    if fate is BAD:
        return Classified((BAD,) * len(rules.bounds))
    if fate is not CANCELLED:
        return Classified((LEFT_OUT,) * len(rules.bounds), fate)
    by_deadline = outcome == "deadline_exceeded"
    if by_deadline:
        ttft_ms = None  # what was said before is not kept
    waited = ttft_ms is None and total_ms >= (DEADLINE_MS if by_deadline else WAITED_MS)
    marks = tuple([_cut_short(bound, waited, ttft_ms, total_ms) for bound in rules.bounds])
    return Classified(marks, CANCELLED if LEFT_OUT in marks else "")


def _cut_short(bound: tuple[bool, float] | None, waited: bool, ttft_ms: float | None, total_ms: float) -> str:
    if bound is None:
        return BAD if waited else LEFT_OUT
    complete, most_ms = bound
    if not complete and ttft_ms is not None:
        return GOOD if ttft_ms <= most_ms else BAD
    return BAD if total_ms > most_ms else LEFT_OUT
