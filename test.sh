#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test: first the unit, gradient and cluster tests
# and the fuzzers' corpora under AddressSanitizer and UBSan, and those with threads under
# ThreadSanitizer, then everything in the build that launch.sh uses. Arguments go to the last ctest,
# e.g. ./test.sh -L unit -R table
set -euo pipefail
cd "$(dirname "$0")"
. cmake/setup.sh

install_packages conf/packages.txt tests/packages.txt
if [ ! -d ../shared/data ]; then
    say "skipped, since ../shared/data is not there: what needs its data in" \
        "$(grep -rl 'shared_data(' tests --include='*_test.c' | xargs -n 1 basename -s .c | xargs)"
fi
if [ "$#" -eq 0 ]; then
    say "building with sanitizers"
    build asan
    ctest --test-dir build/asan -L 'unit|grad|cluster|fuzz' -j 2 --output-on-failure --no-tests=error
    say "building with the thread sanitizer"
    build tsan threaded_tests
    TSAN_OPTIONS=suppressions=$PWD/tests/support/tsan.supp \
        ctest --test-dir build/tsan -L threads -j 2 --output-on-failure --no-tests=error
fi
say "building"
build release
ctest --test-dir build/release -j 2 --output-on-failure --no-tests=error "$@"
