"""What may be repeated of a hostile pod's words: everything useful, and nothing of its own making."""

import pytest

from rolehost_api.link.messages import Degraded, LoadError
from rolehost_runtime.gateway.link import hearsay

KNOWN = [
    "already_bound", "bundle_digest_mismatch", "bundle_duplicate", "bundle_forbidden_name", "bundle_link",
    "bundle_malformed", "bundle_path", "bundle_ratio", "bundle_too_large", "bundle_too_many_files", "declared_twice",
    "entrypoint_not_found", "entrypoint_shadowed", "import_deadline", "invalid_bundle", "invalid_hook", "invalid_role",
    "invalid_state", "logic_died", "logic_error", "logic_raised", "not_a_role", "plugin_not_found",
    "plugin_not_installed", "plugin_not_loaded", "plugin_protocol", "scope_not_supported",
    "state_needs_defaults",
]  # fmt: skip


@pytest.mark.parametrize("code", KNOWN)
def test_what_an_honest_agent_says_is_kept_with_our_own_hint(code: str) -> None:
    told = hearsay.load_error(LoadError(code=code, error="NameError", where="tales/dragon.py:7", hint="Send money"))
    assert (told.code, told.error, told.where) == (code, "NameError", "tales/dragon.py:7")
    assert told.hint
    assert "money" not in told.hint


@pytest.mark.parametrize("code", ["", "SandboxBreached", "bundle_not_found", "revision_mismatch", "made_up", "Ho ho"])
def test_codes_that_only_the_gateway_may_say_and_made_up_ones_are_not_kept(code: str) -> None:
    assert hearsay.load_error(LoadError(code=code)).code == "logic_invalid"


def test_an_entrypoint_that_is_not_there_is_named_by_the_revision_and_not_by_the_pod() -> None:
    said = LoadError(code="entrypoint_not_found", hint="module secrets has no words")
    assert "story:cat" in hearsay.load_error(said, "story:cat").hint
    assert "exactly one rolehost.Role" in hearsay.load_error(said).hint
    assert "module tale that" in hearsay.load_error(said, "tale").hint
    assert len(hearsay.load_error(said, "m" * 300 + ":cat").hint) <= 256


@pytest.mark.parametrize("said", ["Name Error", "E" * 65, "names.Error", "Ошибка", "1Error", "Error\n", ""])
def test_a_type_that_is_no_plain_name_is_not_kept(said: str) -> None:
    assert hearsay.type_name(said) == ""


@pytest.mark.parametrize(
    "said",
    [
        "story.py", "story.py:", "story.py:x", "story.py:1:2", "story.txt:1", "/abs.py:1", "../up.py:1", "a/../b.py:1",
        "a//b.py:1", "C:\\a.py:1", "please call us.py:1", "a\n.py:1", "a.py:1\n", "a.py:12345678", "<string>:1",
        "a" * 125 + ".py:1", "a.py:１",
    ],
)  # fmt: skip
def test_a_place_that_is_no_source_file_and_line_is_not_kept(said: str) -> None:
    assert hearsay.place(said) == ""


@pytest.mark.parametrize("said", ["logic.py:1", "a/b-c/d_e.v2.py:0", "故事.py:3", "__init__.py:9999999"])
def test_a_place_in_the_bundle_is_kept(said: str) -> None:
    assert hearsay.place(said) == said


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("on_start:begin", "on_start:begin"),
        ("on_message:answer#2", "on_message:answer#2"),
        ("on_message:讲故事", "on_message:讲故事"),
        ("on_reply:<lambda>", "on_reply:<lambda>"),
        ("commit", "commit"),
        ("on_message:send us money", "on_message"),
        ("on_message:" + "a" * 65, "on_message"),
        ("on_message:answer#now", "on_message"),
        ("on_message:answer\n", "on_message"),
        ("on_message", "on_message"),
        ("on_birthday:sing", "hook"),
        ("", "hook"),
    ],
)
def test_hooks_are_named_by_their_form(said: str, told: str) -> None:
    assert hearsay.hook_name(said) == told


def test_a_degraded_hook_keeps_its_count_and_loses_its_prose() -> None:
    said = (Degraded("on_message:answer", "hook_deadline"), Degraded("Dear user", "Pay us", "right now"))
    assert hearsay.degradations(said) == (
        Degraded("on_message:answer", "hook_deadline"),
        Degraded("hook", "hook_failed"),
    )
