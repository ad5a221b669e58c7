"""Builders: one function per object that we keep in the cluster, `make(parent, platform) → object`.

What belongs here is the shape of objects and the reasons for it. When to make them, and
whether they are there already, is `reconcile`'s business.
"""
