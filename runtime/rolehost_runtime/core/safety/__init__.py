"""What is not let in and not let out: rules over text that streams, without I/O.

`guards` is what a guard is and what it decides; `folding` makes one of what looks the same, `words` finds words and
phrases in it in one pass, `sieve` holds back no more of a text than may still become one of them. `crisis` has the
platform's own rules, `compiling` makes all of it of a Role's `safety` and says what is wrong there. `asking` is the
question to a model, and its answer.

Not `core/guard`: that is about calling a tenant's code. Nothing here asks anybody; the gateway does.
"""
