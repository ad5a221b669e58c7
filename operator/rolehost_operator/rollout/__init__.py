"""How a revision earns its traffic. Pure: functions of what is declared, what was counted, and the time.

    status.rollout, spec.rollout ─┐
    Evidence (counted) ──judging──┼──▶ engine ──▶ the next status.rollout, status.traffic, status.leaving, notes
    now ──────────────────────────┘

The state of a rollout is what the Role's status says of it, so an operator that begins anew goes on
where the last one ended.

    scene       what a look depends on            table      states, occasions, moves
    occasions   what happens now                  holds      why nothing does
    moves       what each move makes              standing   who is stable anyway, and what begins
    experiment  variants side by side             engine     one look, put together
    leaving     sessions of what was given up     traffic    shares of new sessions
    words       what people say by annotation     keeping    what must not go

The judge, and what it counts by, is in `judging` and beside it. What others see of it all: `shown`, `verdicts`.
"""
