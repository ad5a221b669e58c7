"""A Role's `safety`, ready to be used; and what is wrong with it that its schema does not say."""

from collections.abc import Iterator
from dataclasses import dataclass

from rolehost_api.crd.safety import FailurePolicy, GuardAction, GuardModel, GuardSpec, GuardStage, Language, Safety
from rolehost_api.errors import BadRequest
from rolehost_runtime.core.safety.crisis import CATEGORY, crisis_words
from rolehost_runtime.core.safety.guards import PLATFORM, Stage
from rolehost_runtime.core.safety.words import Word, Words, word

MAX_CHARS = 8192
"""Of all words of a Role together: what a gateway makes of them takes some 400 bytes a character."""
_ACTIONS = {GuardAction.BLOCK: "block", GuardAction.REPLACE: "replace", GuardAction.FLAG: "flag"}
_STAGES: dict[GuardStage, Stage] = {GuardStage.INPUT: "input", GuardStage.OUTPUT: "output"}


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody who is asked about whole texts."""

    guard: str
    closed: bool
    """A text of which it could not be asked is blocked."""
    timeout_seconds: int
    max_questions: int
    model: GuardModel | None = None
    plugin: str = ""
    """Its name, where it is no model."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a turn needs."""

    crisis: tuple[Words, ...]
    """In input, before anything else: whoever is in danger is answered, whatever else they say."""
    input: Words | None
    output: Words | None
    asked_in: tuple[Asked, ...]
    asked_out: tuple[Asked, ...]
    refusal: str
    crisis_reply: str
    crisis_replies: dict[str, str]

    def __bool__(self) -> bool:
        return bool(self.crisis or self.input or self.output or self.asked_in or self.asked_out)

    def reply(self, found: Word) -> str:
        """What is said in place of an answer."""
        if found.category == CATEGORY and self.crisis_reply:
            return self.crisis_replies.get(found.language, self.crisis_reply)
        return self.refusal


def compiled(safety: Safety) -> Compiled:
    """Raises BadRequest `safety_too_large`."""
    if sum(len(entry) for _, entry in entries(safety)) > MAX_CHARS:
        raise BadRequest(f"the words of this Role's guards are over {MAX_CHARS} characters", code="safety_too_large")
    into = [found for guard in safety.guards if GuardStage.INPUT in guard.stages for found in words_of(guard)]
    out = [found for guard in safety.guards if GuardStage.OUTPUT in guard.stages for found in words_of(guard)]
    urgent = [one for one in into if one.category == CATEGORY and one.action == "block"]
    own = Words(urgent)
    rest = Words(one for one in into if one not in urgent)
    said = Words(out)
    return Compiled(
        crisis=(*((crisis_words(),) if safety.crisis_reply else ()), *((own,) if own else ())),
        input=rest or None,
        output=said or None,
        asked_in=tuple(_asked(safety, GuardStage.INPUT)),
        asked_out=tuple(_asked(safety, GuardStage.OUTPUT)),
        refusal=safety.refusal,
        crisis_reply=safety.crisis_reply,
        crisis_replies={one.language.value: one.text for one in safety.crisis_replies},
    )


def entries(safety: Safety) -> Iterator[tuple[str, str]]:
    """Every word of every rule, with its place below `safety`."""
    for guard, one in enumerate(safety.guards):
        for rule, other in enumerate(one.rules):
            for place, entry in enumerate(other.words):
                yield f"guards[{guard}].rules[{rule}].words[{place}]", entry


def words_of(guard: GuardSpec) -> Iterator[Word]:
    """What can be found of a guard's rules."""
    for rule in guard.rules:
        for entry in rule.words:
            found = word(
                entry,
                guard=guard.name,
                category=rule.category.value,
                action=_ACTIONS[rule.action],  # type: ignore[arg-type]
                text=rule.text,
            )
            if found is not None:
                yield found


def _asked(safety: Safety, stage: GuardStage) -> Iterator[Asked]:
    for guard in safety.guards:
        asked = guard.model or guard.plugin
        if asked is None or stage not in guard.stages:
            continue
        yield Asked(
            guard.name,
            guard.on_failure is FailurePolicy.CLOSED,
            asked.timeout_seconds,
            asked.max_questions,
            guard.model,
            guard.plugin.name if guard.plugin is not None else "",
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, below `safety`."""

    path: str
    code: str
    message: str
    hint: str


def faults(safety: Safety) -> list[Fault]:
    """What its schema cannot say, in the order of its fields.

    >>> from rolehost_api.crd.safety import Category, GuardRule
    >>> rule = GuardRule(category=Category.OTHER, words=("*", "damn"))
    >>> [(one.path, one.code) for one in faults(Safety(guards=[GuardSpec(name="house", rules=[rule, rule])]))]
    [('guards[0].rules[0].words[0]', 'never_found'), ('guards[0].rules[1].words[0]', 'never_found'), \
('guards[0].rules[1].words[1]', 'duplicate')]
    """
    found: list[Fault] = []
    for number, guard in enumerate(safety.guards):
        if guard.name == PLATFORM:
            message = "is the name of the platform's own rules"
            found.append(Fault(f"guards[{number}].name", "name_taken", message, "Give it another"))
    found += _words(safety)
    spoken: set[Language] = set()
    for number, reply in enumerate(safety.crisis_replies):
        if reply.language in spoken:
            message = f"has the language {reply.language.value} of another"
            found.append(Fault(f"crisisReplies[{number}].language", "duplicate", message, "Keep one of the two"))
        spoken.add(reply.language)
    return found


def _words(safety: Safety) -> Iterator[Fault]:
    room = MAX_CHARS
    seen: dict[tuple[str, bool, GuardStage], str] = {}
    for number, guard in enumerate(safety.guards):
        for place, rule in enumerate(guard.rules):
            for at, entry in enumerate(rule.words):
                path = f"guards[{number}].rules[{place}].words[{at}]"
                before, room = room, room - len(entry)
                if room < 0 <= before:
                    message = f"is where the words of all guards pass {MAX_CHARS} characters"
                    yield Fault(path, "budget", message, "Leave some out, or ask a model about them")
                found = word(entry, guard="", category=rule.category.value, action="flag")
                if found is None:
                    message = "is never found: nothing is left of it without blanks and invisible characters"
                    yield Fault(path, "never_found", message, "Write the word itself; `*` only goes behind one")
                    continue
                if "*" in entry.rstrip()[:-1]:
                    message = "has `*` within, where it stands for itself"
                    yield Fault(path, "star_within", message, "`*` at the end stands for the rest of a word")
                twice = [
                    seen[key]
                    for stage in guard.stages
                    if (key := (_raw(found), found.open_end, stage)) in seen
                ]  # fmt: skip
                if twice:
                    yield Fault(path, "duplicate", f"is the same as {twice[0]}", "Keep one of the two")
                for stage in guard.stages:
                    seen.setdefault((_raw(found), found.open_end, stage), path)


def _raw(found: Word) -> str:
    return f"{found.symbols}{found.digits}"
