#!/usr/bin/env bash
# Fails if the protos break clients of the newest release, or of the last ten states of main
# that hold the file proto/PROMISED. Adding that file starts the promise; states before it are not compared, and
# deleting it later changes nothing. AGAINST=<git ref> compares with that state alone, promised or not.
# Needs the history of main, and no network.
set -euo pipefail
cd "$(dirname "$0")/.."

promised() { # of the commits given, those that hold the file
  for state; do
    if git cat-file -e "$state:proto/PROMISED" 2>/dev/null; then echo "$state"; fi
  done
}

if [ -n "${AGAINST:-}" ]; then
  states=$(git rev-parse --verify "$AGAINST^{commit}")
else
  # On a branch, what is not on main yet may change again; without a remote, HEAD is main.
  main=$(git merge-base HEAD origin/main 2>/dev/null || git rev-parse HEAD)
  release=$(git describe --tags --abbrev=0 --match 'v[0-9]*' "$main" 2>/dev/null || true)
  recent=$(git log -n 10 --format=%H "$main" -- proto/modelyard proto/PROMISED)
  # shellcheck disable=SC2086
  states="$(promised $recent) ${release:+$(git rev-parse "$release^{commit}")}"
fi

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
compared=0
for state in $states; do
  mkdir "$before/$state" 2>/dev/null || continue
  git archive "$state" proto | tar -x -C "$before/$state"
  "${BUF:-buf}" breaking proto --against "$before/$state/proto" || {
    echo "The protos break what was published in $(git log -1 --format='%h (%cs: %s)' "$state")." >&2
    exit 1
  }
  compared=$((compared + 1))
done
if [ "$compared" = 0 ]; then
  echo "Nothing is promised yet: no release, and no state of main with proto/PROMISED."
else
  echo "The protos break nothing of $compared published states."
fi
