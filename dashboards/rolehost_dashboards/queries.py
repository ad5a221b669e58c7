"""PromQL, put together. Counters are given by their name in the exposition, with `_total`.

`$__rate_interval` is Grafana's: four scrapes at least, the step of the picture where that is longer.
"""

from collections.abc import Iterable

SPAN = "$__rate_interval"
TENANT = 'tenant="$tenant"'
ROLE = f'{TENANT},role="$role"'
REVISION = f'{ROLE},revision=~"$revision"'
PERCENTILES = (0.5, 0.95, 0.99)


def rate(counter: str, where: str = "", by: str = "", span: str = SPAN) -> str:
    """Of a counter, summed.

    >>> rate("rolehost_turns_total", 'tenant="a"', "outcome")
    'sum by (outcome) (rate(rolehost_turns_total{tenant="a"}[$__rate_interval]))'
    """
    return _sum(f"rate({_of(counter, where)}[{span}])", by)


def increase(counter: str, where: str = "", by: str = "", span: str = "$__range") -> str:
    return _sum(f"increase({_of(counter, where)}[{span}])", by)


def grown(counter: str, where: str = "", by: str = "", span: str = "$__range") -> str:
    """By how much, for counters of few events: `increase` does not see the first one, with which a series begins.

    >>> grown("x_total", 'role="a"', "action", "1h")
    'clamp_min(sum by (action) (max_over_time(x_total{role="a"}[1h])) - (sum by (action) (x_total{role="a"} offset 1h) \
or on (action) 0 * sum by (action) (max_over_time(x_total{role="a"}[1h]))), 0)'
    """
    now = _sum(f"max_over_time({_of(counter, where)}[{span}])", by)
    before = _sum(f"{_of(counter, where)} offset {span}", by)
    matching = f" on ({by})" if by else ""
    return f"clamp_min({now} - ({before} or{matching} 0 * {now}), 0)"


def part_grown(counter: str, of: str, where: str = "", by: str = "", span: str = "$__range") -> str:
    """What part of a counter's growth also matches `of`, for counters of few events."""
    whole, matching = grown(counter, where, by, span), f" on ({by})" if by else ""
    return f"({grown(counter, _joined(where, of, sep=','), by, span)} or{matching} 0 * {whole}) / ({whole} > 0)"


def quantile(share: float, histogram: str, where: str = "", by: str = "", span: str = SPAN) -> str:
    """
    >>> quantile(0.99, "x_seconds", "", "role")
    'histogram_quantile(0.99, sum by (le, role) (rate(x_seconds_bucket[$__rate_interval])))'
    """
    return f"histogram_quantile({share:g}, {rate(f'{histogram}_bucket', where, _joined('le', by), span)})"


def part(counter: str, of: str, where: str = "", by: str = "", span: str = SPAN) -> str:
    """What part of a counter's growth also matches `of`. 0 where there is some of the counter and none of that.

    >>> part("x_total", 'code="a"', by="role", span="5m")
    '(sum by (role) (rate(x_total{code="a"}[5m])) or on (role) 0 * sum by (role) (rate(x_total[5m]))) / \
sum by (role) (rate(x_total[5m]))'
    """
    whole = rate(counter, where, by, span)
    matching = f" on ({by})" if by else ""
    return f"({rate(counter, _joined(where, of, sep=','), by, span)} or{matching} 0 * {whole}) / {whole}"


def top(count: int, query: str) -> str:
    return f"topk({count}, {query})"


def bottom(count: int, query: str) -> str:
    return f"bottomk({count}, {query})"


def _sum(of: str, by: str) -> str:
    return _aggregated("sum", of, by)


def _aggregated(operator: str, of: str, by: str) -> str:
    return f"{operator} by ({by}) ({of})" if by else f"{operator}({of})"


def _of(name: str, where: str) -> str:
    return f"{name}{{{where}}}" if where else name


def _joined(*parts: str, sep: str = ", ") -> str:
    kept: Iterable[str] = (one for one in parts if one)
    return sep.join(kept)
