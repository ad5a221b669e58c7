"""Queries to draw: such as are meant well, and such as are not."""

from hypothesis import strategies as st

NAMES = {"tenant": "acme", "role": "cat", "candidate": "cat-new", "baseline": "cat-old"}

metrics = st.sampled_from(["x", "y_total", "a:b", "up", "tenant", "offsets", "sumx"])
labels = st.sampled_from(["job", "revision", "tenant", "le", "__name__"])
values = st.sampled_from(["a", "$candidate", "$tenant", ".+", 'q\\"uo}te', "x{", "other", "\\\\", ""])
matchers = st.builds(
    lambda label, op, value: f'{label}{op}"{value}"', labels, st.sampled_from(["=", "!=", "=~", "!~"]), values
)
selectors = st.one_of(
    metrics,
    metrics,
    st.builds(lambda name, found: f"{name}{{{','.join(found)}}}", metrics, st.lists(matchers, max_size=2)),
    st.builds(lambda found: f'{{__name__=~"x|y_total",{",".join(found)}}}', st.lists(matchers, max_size=2)),
)
instants = st.one_of(selectors, st.builds("{} offset {}".format, selectors, st.sampled_from(["5m", "1h30m", "-30s"])))
ranges = st.builds("{}[{}]".format, selectors, st.sampled_from(["30s", "5m", "1h"]))
clauses = st.sampled_from(["", "by (job)", "without (le, revision)", "by ()"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({})".format, inner),
        st.builds("{} ({})".format, st.sampled_from(["sum", "max by (job)", "count without (le)"]), inner),
        st.builds("avg({}) {}".format, inner, clauses),
        st.builds("topk(2, {})".format, inner),
        st.builds("abs({})".format, inner),
        st.builds("clamp({}, -1, 1e3)".format, inner),
        st.builds(
            "{} {} {}".format,
            inner,
            st.sampled_from(
                ["+", "-", "/", "*", "and", "unless", "or", "> bool", "== on (job)", "/ ignoring (le) group_left ()"]
            ),
            inner,
        ),
    )


leaves = st.one_of(instants, st.builds("{}({})".format, st.sampled_from(["rate", "increase", "max_over_time"]), ranges))
expressions = st.recursive(leaves, _grown, max_leaves=4)

pieces = st.sampled_from(
    [
        *"{}()[],=\"'`#@$\\+-*/^%<>!~:;. \n\t",
        *(
            "x",
            "other",
            "up",
            "tenant",
            "sum",
            "by",
            "on",
            "ignoring",
            "offset",
            "bool",
            "and",
            "or",
            "AND",
            "inf",
            "NaN",
        ),
        *(
            "5m",
            "1",
            "0.5",
            "[5m]",
            "[5m:1s]",
            "@ 0",
            "start()",
            '{tenant="other"}',
            '"a"',
            "rate(",
            "group_left",
            "without",
        ),
        *('"}', '\\"', "{}", "info(", "WITH", "default", "x{", 'tenant="', "é", "\x00", "\u2028"),
    ]
)


def _spoilt(query: str, junk: list[str], places: list[int]) -> str:
    for piece, place in zip(junk, places, strict=False):
        at = place % (len(query) + 1)
        query = query[:at] + piece + query[at:]
    return query


hostile = st.one_of(
    st.text(max_size=60),
    st.lists(pieces, max_size=25).map("".join),
    st.lists(pieces, max_size=15).map(" ".join),
    st.builds(
        _spoilt,
        expressions,
        st.lists(pieces, min_size=1, max_size=4),
        st.lists(st.integers(0, 200), min_size=4, max_size=4),
    ),
)
"""Anything at all, words of PromQL in any order, and good queries with something put into them."""
