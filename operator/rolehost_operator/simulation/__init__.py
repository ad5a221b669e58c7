"""How the judge of rollouts does on traffic whose truth is known. Seeded: the same seed says the same.

    traffic ──▶ sessions of both arms, turn by turn ──▶ rules: `rollout.judging` as it is, Flagger's ──▶ studies

Nothing here runs in a cluster; `rolehost rollout simulate` asks it about rates, weights and margins.
"""
