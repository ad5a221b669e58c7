"""The pods' index says what a walk over the pods would say, whatever happened to them."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rolehost_runtime.gateway.tables import PodEntry, PodTable, Tenant

TENANTS = (Tenant("acme", "1"), Tenant("acme", "2"), Tenant("evil", "3"))
UIDS, REVISIONS = st.sampled_from("abcdef"), st.sampled_from(["cat-1", "cat-2"])
PODS = st.builds(
    PodEntry,
    st.sampled_from(TENANTS), UIDS, st.just("x"), st.just("cat"), REVISIONS, st.just("10.0.0.1:1"),
    leaving=st.booleans(), ready=st.booleans(),
)  # fmt: skip
STEPS = st.one_of(
    st.tuples(st.just("put"), PODS),
    st.tuples(st.just("drop"), UIDS),
    st.tuples(st.just("replace"), st.lists(PODS, max_size=6)),
)


@given(st.lists(STEPS, max_size=30))
def test_pods_of_a_revision(steps: list[tuple[str, PodEntry | str | list[PodEntry]]]) -> None:
    table = PodTable()
    heard: list[bool] = []
    table.listen(
        lambda key: heard.append((row := table.get(*key)) is None or row in table.of(row.tenant, row.revision))
    )
    for _, what in steps:
        match what:
            case PodEntry():
                table.put((what.uid,), what)
            case str():
                table.drop((what,))
            case list():
                table.replace_all({(pod.uid,): pod for pod in what})
    for tenant in TENANTS:
        for revision in ("cat-1", "cat-2"):
            walked = {pod for pod in table.values() if (pod.tenant, pod.revision) == (tenant, revision)}
            assert set(table.of(tenant, revision)) == walked
    assert all(heard), "whoever is told of a row finds it in the index"
    assert all(table._of.values()), "nothing is kept of revisions that have no pods"


def test_what_was_given_out_does_not_change_under_whoever_walks_it() -> None:
    table = PodTable()
    pod = PodEntry(TENANTS[0], "a", "x", "cat", "cat-1", "10.0.0.1:1")
    table.put(("a",), pod)
    walked = []
    for seen in table.of(TENANTS[0], "cat-1"):
        walked.append(seen)
        table.put(("b",), replace(pod, uid="b"))
    assert walked == [pod]
