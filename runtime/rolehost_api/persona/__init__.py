"""Persona texts with places to fill in, and the templates that are built in. Pure: text in, text out.

The language is closed on purpose: variables and `if`, nothing else. The gateway renders a tenant's text beside its
keys, and a general engine in a sandbox can be kept from attributes but not from loops, padding and formats that fill
the memory. Here nothing can be named but the variables, nothing repeats, and what comes out is bounded while it grows.
"""
