"""Measurements: one file per question, each with a peer in the same run.

`make bench NAME=first_frame` prints a summary and writes everything to results/. The
method: arms take turns (A B A B …), so that what the machine does beside hits both; what
is compared is the ratio of medians over rounds, with a bootstrap interval; CPU time and
bytes of the serving process come before wall-clock times, which other work on the machine
moves; rounds that the hypervisor stole from are taken again. Nothing here asserts a time.
"""
