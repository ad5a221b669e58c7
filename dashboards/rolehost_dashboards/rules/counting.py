"""Counters of rare things, in PromQL."""


def rose(counter: str, window: str, *by: str, where: str = "") -> str:
    """By how much a counter rose in a window. One that did not exist before counts from nothing: a series with a label is
    born by the first thing that it counts, and `increase` alone would never see that one.

    >>> rose("rolehost_set_aside_total", "1h", "why")
    'sum by (why) (rolehost_set_aside_total unless last_over_time(rolehost_set_aside_total[1d] offset 1h) or increase(rolehost_set_aside_total[1h]))'
    """
    one = f"{counter}{{{where}}}" if where else counter
    summed = f"sum by ({', '.join(by)})" if by else "sum"
    return f"{summed} ({one} unless last_over_time({one}[1d] offset {window}) or increase({one}[{window}]))"
