#!/usr/bin/env bash
# All tests, the quick ones first, in one pytest run; `make test` calls this with the venv on PATH.
# Where no cluster can run (no Linux, no root) it says so and runs the rest; with CI set that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

# The page is tried in a real browser; without one those tests are left out, but never with CI set.
if ! command -v chromium >/dev/null && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "installing chromium, for the page's tests: about half a minute" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } >/dev/null
fi
folders=(tests/unit tests/contract tests/integration)
cluster=0
python -m tests.cluster up || cluster=$?
if [ "$cluster" -eq 0 ]; then
  folders+=(tests/e2e)
elif [ "$cluster" -eq 3 ] && [ -z "${CI:-}" ]; then
  echo "No cluster can run on this machine, as said above: the tests that need one are left out." >&2
else
  echo "The cluster did not come up, so there is nothing to test against." >&2
  exit 1
fi
exec python -m pytest "${folders[@]}" "$@"
