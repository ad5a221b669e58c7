"""`python -m rolehost.cli` is `rolehost`."""

from rolehost.cli import main

main(prog_name="rolehost")
