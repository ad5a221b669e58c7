"""What is so: from what was observed to the conditions that people and machines read.

What belongs here are judgements about the present; what should be done about them is
`reconcile`'s business. A condition is True, False or Unknown: what nobody reported is
Unknown, never False.
"""
