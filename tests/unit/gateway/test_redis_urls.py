"""What a Redis URL may say, what is refused and how; what Redis' own refusals mean."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.errors import BadRequest, Overloaded, RolehostError, Unavailable
from rolehost_runtime.gateway.broker.state.resp.address import Kind, Target, parse
from rolehost_runtime.gateway.broker.state.resp.refusals import MEANINGS, Refusal, Remedy, meaning, moved_to, told
from rolehost_runtime.gateway.broker.state.resp.slots import SLOTS, ranges, slot_of


def hosts(target: Target) -> list[str]:
    return [str(address) for address in target.addresses]


@pytest.mark.parametrize(
    ("url", "kind", "where"),
    [
        pytest.param("redis://r", Kind.SINGLE, ["r:6379"], id="a-host"),
        pytest.param("redis://[::1]:7/2", Kind.SINGLE, ["[::1]:7"], id="ipv6"),
        pytest.param("unix:///run/r.sock?db=1", Kind.SINGLE, ["/run/r.sock"], id="a-socket"),
        pytest.param("redis+sentinel://a,b:7/main", Kind.SENTINEL, ["a:26379", "b:7"], id="sentinels"),
        pytest.param("rediss+cluster://a,b:7", Kind.CLUSTER, ["a:6379", "b:7"], id="a-cluster"),
    ],
)
def test_a_url_names_servers(url: str, kind: Kind, where: list[str]) -> None:
    target = parse(url)
    assert (target.kind, hosts(target)) == (kind, where)
    assert target.tls is url.startswith("rediss")


def test_a_url_names_user_database_master_and_replicas() -> None:
    target = parse("redis+sentinel://role%3Ahost@a:1,b:2/main/3?replicas=2")
    assert (target.user, target.master, target.database, target.replicas) == ("role:host", "main", 3, 2)
    assert (target.durability, parse("redis://r").durability) == ("replicated-2", "local-fsync")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        pytest.param("redis://:hunter2@r", "password", id="a-password"),
        pytest.param("redis://me:hunter2@r", "password", id="user-and-password"),
        pytest.param("http://r", "scheme", id="another-scheme"),
        pytest.param("redis+ring://r", "scheme", id="another-family"),
        pytest.param("redis://a,b", "several hosts", id="several-of-a-single-one"),
        pytest.param("redis://", "host:port", id="no-host"),
        pytest.param("redis://r:0", "host:port", id="port-0"),
        pytest.param("redis://r:99999", "host:port", id="no-such-port"),
        pytest.param("redis+sentinel://a:1,b:2", "master", id="no-master"),
        pytest.param("redis+cluster://a/1", "database 0", id="a-cluster's-database"),
        pytest.param("redis://r/x", "number", id="no-database"),
        pytest.param("redis://r?replicas=9", "replicas", id="too-many-replicas"),
        pytest.param("redis://r?replica=1", "replicas", id="misspelt"),
        pytest.param("unix://r.sock", "path", id="a-relative-socket"),
        pytest.param("redis://[::1", "not host:port", id="half-an-address"),
    ],
)
def test_what_names_nothing_is_refused_with_the_forms(url: str, why: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(url)
    assert refused.value.code == "invalid_redis_url"
    assert why in refused.value.message
    assert "redis+sentinel://" in refused.value.hint
    assert "hunter2" not in str(refused.value)


@given(st.text(max_size=40))
def test_no_text_is_worse_than_refused(text: str) -> None:
    for url in (text, f"redis://{text}", f"redis+cluster://{text}", f"unix://{text}"):
        with contextlib.suppress(BadRequest):
            assert parse(url).addresses


# ── refusals ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "remedy", "error", "code", "retryable"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", Remedy.TELL, Overloaded, "state_full", True),
        ("LOADING Redis is loading the dataset in memory", Remedy.PAUSE, Unavailable, "state_unavailable", True),
        ("BUSY Redis is busy running a script.", Remedy.PAUSE, Unavailable, "state_unavailable", True),
        ("READONLY You can't write against a read only replica.", Remedy.LOOK, Unavailable, "state_unavailable", True),
        ("CLUSTERDOWN The cluster is down", Remedy.LOOK, Unavailable, "state_unavailable", True),
        ("NOPERM this user has no permissions to run 'xadd'", Remedy.TELL, Unavailable, "state_forbidden", False),
        ("WRONGPASS invalid username-password pair", Remedy.TELL, Unavailable, "state_forbidden", False),
        ("ERR unknown command 'secret'", Remedy.TELL, Unavailable, "state_unavailable", True),
    ],
)
def test_a_refusal_has_a_remedy_and_a_code(
    text: str, remedy: Remedy, error: type[RolehostError], code: str, retryable: bool
) -> None:
    refusal = Refusal(text)
    said = told(refusal)
    assert meaning(refusal).remedy is remedy
    assert (type(said), said.code, said.retryable) == (error, code, retryable)
    assert said.hint
    assert "xadd" not in str(said)
    assert "secret" not in str(said)


def test_what_redis_6_wraps_is_unwrapped() -> None:
    wrapped = "ERR Error running script (call to f_0a): @user_script:2: @user_script: 2: -READONLY You can't write"
    assert meaning(Refusal(wrapped)).remedy is Remedy.LOOK


@given(st.sampled_from(sorted(MEANINGS)), st.text())
def test_no_refusal_breaks_its_reader(word: str, rest: str) -> None:
    refusal = Refusal(f"{word} {rest}")
    assert isinstance(told(refusal), RolehostError)
    found = moved_to(refusal)
    assert found is None or len(found) == 3


# ── slots ───────────────────────────────────────────────────────────────────────────


@given(st.text(alphabet="0123456789abcdef", min_size=1))
def test_all_keys_of_a_session_are_in_one_slot(key: str) -> None:
    found = {slot_of(f"rh:{{{key}}}:{part}".encode()) for part in ("head", "wal", "snap")}
    assert len(found) == 1
    assert 0 <= found.pop() < SLOTS


@pytest.mark.parametrize(
    "answer", [None, [1], [[0, 5]], [[0, 99_999, [b"a", 1]]], [[0, 1, [b"\xff", 1]]], [[5, 1, [b"a", 1]]]]
)
def test_a_map_that_is_none_is_refused(answer: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(ranges(answer, parse("redis://a").addresses[0]))
