#!/usr/bin/env bash
# clang-tidy over every file of the build folder's compile commands (some minutes).
# usage: tests/lint/tidy.sh [BUILD]   default build/dev, made by: cmake --preset dev
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build/dev}
[ -f "$build/compile_commands.json" ] || cmake --preset dev >/dev/null
cmake --build "$build" --target anthill_wire_proto >/dev/null
find common graph ps worker -name '*.c' -print0 |
    xargs -0 -n 1 -P 2 clang-tidy --quiet -p "$build"
