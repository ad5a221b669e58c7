"""Fuzzes one of the decoders with atheris, which watches which branches are taken (the optional extra `fuzz`).

python -m tests.support.fuzzer frame_json -max_total_time=60 corpus/
"""

import sys

import atheris

with atheris.instrument_imports(include=["rolehost_api", "rolehost_runtime"]):
    from tests.support.fuzzing import TARGETS

if __name__ == "__main__":
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()
