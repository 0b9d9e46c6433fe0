#!/usr/bin/env bash
# Fails when the protos break what others may use already: the ten last states they had on main, and the
# newest release. AGAINST=<git ref> compares with that state alone. Needs the history of main, and no network.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -n "${AGAINST:-}" ]; then
  states=$(git rev-parse --verify "$AGAINST^{commit}")
else
  # On a branch, what is not on main yet may change again; without a remote, HEAD is main.
  main=$(git merge-base HEAD origin/main 2>/dev/null || git rev-parse HEAD)
  release=$(git describe --tags --abbrev=0 --match 'v[0-9]*' "$main" 2>/dev/null || true)
  states="$(git log -n 10 --format=%H "$main" -- proto/modelyard) ${release:+$(git rev-parse "$release^{commit}")}"
fi

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
for state in $states; do
  mkdir "$before/$state" 2>/dev/null || continue
  git archive "$state" proto | tar -x -C "$before/$state"
  "${BUF:-buf}" breaking proto --against "$before/$state/proto" || {
    echo "The protos break what was published in $(git log -1 --format='%h (%cs: %s)' "$state")." >&2
    exit 1
  }
done
echo "The protos break nothing of $(echo "$states" | wc -w) published states."
