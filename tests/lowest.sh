#!/usr/bin/env bash
# Runs the SDK, installed without the server, once on the oldest grpcio, grpcio-status and protobuf that
# pyproject.toml declares, against a server from the main environment. Ends with 0 when all of it worked.
set -euo pipefail
cd "$(dirname "$0")/.."

MAIN=.venv/bin/python
LOWEST=.venv-lowest
FOLDER=$(mktemp -d)
SERVER=

finish() {
  local code=$?
  if [ "$code" -ne 0 ] && [ -s "$FOLDER/log" ]; then
    echo "the end of what the server said:" >&2
    tail -n 40 "$FOLDER/log" >&2
  fi
  if [ -n "$SERVER" ]; then
    kill "$SERVER" 2>/dev/null || true
    wait "$SERVER" 2>/dev/null || true
  fi
  rm -rf "$FOLDER"
}
trap finish EXIT

"$MAIN" - > "$FOLDER/lowest.txt" <<'PY'
import re
import tomllib

with open("pyproject.toml", "rb") as file:
    declared = tomllib.load(file)["project"]["dependencies"]
for name in ("grpcio", "grpcio-status", "protobuf"):
    (lowest,) = [found[1] for line in declared if (found := re.match(rf"{name}\s*>=\s*([0-9.]+)", line))]
    print(f"{name}=={lowest}")
PY
echo "the lowest: $(paste -sd ' ' "$FOLDER/lowest.txt")"

[ -x "$LOWEST/bin/python" ] || "$MAIN" -m venv "$LOWEST"
"$LOWEST/bin/python" -m pip install --quiet --disable-pip-version-check -c "$FOLDER/lowest.txt" .
# The version number stays the same while the code changes: pip would keep what it installed before.
"$LOWEST/bin/python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps .

"$MAIN" -m modelyard_server start --data "$FOLDER/data" --port 0 > "$FOLDER/said" 2> "$FOLDER/log" &
SERVER=$!
ADDRESS=
for _ in $(seq 300); do
  ADDRESS=$(grep -oE 'grpc://[^ ,]+' "$FOLDER/said" | head -n 1 || true)
  [ -z "$ADDRESS" ] || break
  kill -0 "$SERVER" 2>/dev/null || break
  sleep 0.1
done
if [ -z "$ADDRESS" ]; then
  echo "the server did not start" >&2
  exit 1
fi

# -I: what is installed, not what lies in this folder; no settings of the user's.
env -u MODELYARD_API_KEY HOME="$FOLDER/home" MODELYARD_URL="$ADDRESS" MODELYARD_SILENT=true \
  MODELYARD_CACHE_DIR="$FOLDER/cache" MODELYARD_ARTIFACT_DIR="$FOLDER/artifacts" \
  "$LOWEST/bin/python" -I -W error tests/lowest_session.py "$FOLDER" "$FOLDER/lowest.txt"
