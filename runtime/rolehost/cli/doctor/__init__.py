"""`rolehost doctor`: is this platform as it has to be?

`cluster`, `parts`, `durability`, `clocks` and `walls` are pure: facts in, findings out, and
every finding that is not ok says what mends it. `api`, `gateway` and `trials` gather the
facts: through one `kubectl proxy`, so with the user's own rights; from a gateway, which
alone knows Redis; and from pods that live for seconds. `command` runs them side by side.

A check that cannot fail proves nothing: walls are tried together with a way that must be open.
"""
