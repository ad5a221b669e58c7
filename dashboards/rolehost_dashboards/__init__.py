"""How rolehost is watched, as code: alert rules and dashboards, rendered into files that are committed.

Here belongs what is rendered and how: pure functions from names to text. What counts, queries or shows anything at run
time does not. It sees `rolehost_api` only: the names of series that have a constant come from there.
"""
