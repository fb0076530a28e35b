#!/usr/bin/env bash
# Every C file is as clang-format writes it. Mend with: clang-format -i FILE
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v clang-format >/dev/null || { echo "skipped: clang-format is not installed"; exit 77; }
find common graph ps worker tests -name '*.[ch]' -print0 |
    xargs -0 clang-format --dry-run --Werror
