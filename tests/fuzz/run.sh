#!/usr/bin/env bash
# Fuzzes one target, or all of them one after the other, each for SECONDS (60): run.sh [TARGET]
# [SECONDS]. Installs clang where it is missing and builds the fuzz preset. Begins with the corpus in
# the tree and with what earlier runs found, which is kept in build/fuzz/corpus. A finding is written
# to build/fuzz/findings, and its name printed. `run.sh --merge [TARGET]` adds to the corpus in
# the tree the fewest of the found inputs that reach code which it does not.
set -euo pipefail
cd "$(dirname "$0")/../.."
. cmake/setup.sh

merge=
if [ "${1:-}" = --merge ]; then
    merge=1
    shift
fi
targets=(tests/fuzz/*_fuzz.c)
targets=("${targets[@]##*/}")
targets=("${targets[@]%_fuzz.c}")
seconds=60
for argument in "$@"; do
    case $argument in
    *[!0-9]*)
        if [ ! -f "tests/fuzz/${argument}_fuzz.c" ]; then
            say "no target $argument; there are: ${targets[*]}"
            exit 64
        fi
        targets=("$argument")
        ;;
    *) seconds=$argument ;;
    esac
done
install_packages conf/packages.txt tests/packages.txt tests/fuzz/packages.txt
say "building"
build fuzz "${targets[@]/%/_fuzz}"

# The default quarantine, 256 MiB of freed memory, makes every run take new pages from the kernel.
export ASAN_OPTIONS=quarantine_size_mb=16

failed=0
for target in "${targets[@]}"; do
    program=build/fuzz/tests/fuzz/${target}_fuzz
    tree=tests/fuzz/corpus/$target
    found=build/fuzz/corpus/$target
    log=build/fuzz/$target.log
    mkdir -p "$tree" "$found" build/fuzz/findings
    options=(-timeout=20 -rss_limit_mb=3000 -max_len=16384 "-artifact_prefix=build/fuzz/findings/$target-")
    [ -f "tests/fuzz/$target.dict" ] && options+=("-dict=tests/fuzz/$target.dict")
    if [ -n "$merge" ]; then
        # Edges alone, not how often each is passed: tens of files, not hundreds.
        run_quietly "merging $target" "$program" -set_cover_merge=1 -use_counters=0 "${options[@]}" \
            "$tree" "$found"
        echo "$target: $(ls "$tree" | wc -l) files, $(du -sb "$tree" | cut -f 1) bytes"
        continue
    fi
    status=0
    nice -n 10 "$program" -max_total_time="$seconds" -print_final_stats=1 "${options[@]}" \
        "$found" "$tree" >"$log" 2>&1 || status=$?
    coverage=$(grep -oE 'cov: [0-9]+ ft: [0-9]+' "$log" | tail -n 1)
    runs=$(grep -oE 'number_of_executed_units: [0-9]+' "$log" | grep -oE '[0-9]+' || true)
    echo "$target: $seconds s, ${runs:-?} runs, ${coverage:-no coverage}," \
        "$([ "$status" -eq 0 ] && echo "no finding" || echo "FINDING: see $log")"
    [ "$status" -eq 0 ] || failed=1
done
exit "$failed"
