#!/usr/bin/env bash
# All tests; `make test` calls this with the venv on PATH. The quick ones first, on all cores; then those of the cluster
# beside those of this machine, for both mostly wait. What the cluster's said is shown at the end.
# A soak runs one after the other, so that its figures are not each other's.
# Where no cluster can run (no Linux, no root) it says so and runs the rest; with CI set that is a failure.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

# The page is tried in a real browser, evidence and alerts with a real Prometheus; without one those tests are left out,
# but never with CI set.
wanted=()
command -v chromium >/dev/null || wanted+=(chromium)
command -v promtool >/dev/null || wanted+=(prometheus)
command -v amtool >/dev/null || wanted+=(prometheus-alertmanager)
if [ "${#wanted[@]}" -gt 0 ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "installing ${wanted[*]}, which some tests want: about half a minute" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}"; } >/dev/null || exit 1
fi
cluster=0
python -m tests.cluster up || cluster=$?
if [ "$cluster" -eq 3 ] && [ -z "${CI:-}" ]; then
  echo "No cluster can run on this machine, as said above: the tests that need one are left out." >&2
elif [ "$cluster" -ne 0 ]; then
  echo "The cluster did not come up, so there is nothing to test against." >&2
  exit 1
fi

failed=0
selected=0
# A run that a -k or -m of the caller leaves without a test is none that failed, unless all are.
judge() {
  case "$1" in 0) selected=1 ;; 5) ;; *) selected=1; failed=1 ;; esac
}
here=(tests/contract tests/integration)
[ -d tests/alerts ] && here=(tests/alerts "${here[@]}")

python -m pytest tests/unit --numprocesses=auto --dist=loadfile "$@"
judge $?
if [ "$cluster" -ne 0 ]; then
  python -m pytest "${here[@]}" "$@"
  judge $?
elif [ "${ROLEHOST_PROOF:-}" = soak ]; then
  python -m pytest "${here[@]}" "$@"
  judge $?
  python -m pytest tests/e2e "$@"
  judge $?
else
  said=$(mktemp)
  trap 'rm -f "$said"' EXIT
  python -m pytest tests/e2e -p no:cacheprovider "$@" >"$said" 2>&1 &
  beside=$!
  trap 'kill "$beside" 2>/dev/null; rm -f "$said"' EXIT
  python -m pytest "${here[@]}" "$@"
  judge $?
  wait "$beside"
  judge $?
  cat "$said"
fi
[ "$selected" -eq 1 ] || echo "No test was selected." >&2
[ "$failed" -eq 0 ] && [ "$selected" -eq 1 ]
