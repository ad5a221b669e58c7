"""Doorbells, the queue behind them, and the loop: observe, decide, act.

`doorbells` is all that we use of kopf: it watches and rings. Why it rang is never asked.
Nothing here decides what should be; that is `reconcile`.
"""
