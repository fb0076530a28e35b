#!/usr/bin/env bash
# Trains CONFIG once per seed and prints the mean and standard deviation of its test metrics.
# usage: tests/bench/accuracy.sh CONFIG SEEDS [launch.sh options]
#   e.g. tests/bench/accuracy.sh conf/cora-gcn.yaml 10 --workers 4 --set consistency.mode=bsp
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -ge 2 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 64; }
config=$1 seeds=$2
shift 2
results=$(mktemp)
dir=$(mktemp -d /tmp/anthill-accuracy.XXXXXX)
trap 'rm -rf "$results" "$dir"' EXIT
for ((seed = 1; seed <= seeds; seed++)); do
    ./launch.sh "$config" --set "run.seed=$seed" --set "run.dir=$dir/run" --no-baseline \
        --set expect.value=0 "$@" 2>"$dir/log" | tail -n 1 >>"$results" ||
        { tail -n 20 "$dir/log" >&2; exit 1; }
done
awk -v config="$config" -v options="$*" '
    {
        match($0, /"test":[{][^}]*[}]/)
        n = split(substr($0, RSTART + 8, RLENGTH - 9), parts, ",")
        for (i = 1; i <= n; i++) {
            split(parts[i], pair, ":")
            gsub(/"/, "", pair[1])
            sum[pair[1]] += pair[2]; squares[pair[1]] += pair[2] ^ 2
        }
        match($0, /"seconds":[0-9.e+-]+/)
        seconds += substr($0, RSTART + 10, RLENGTH - 10)
    }
    END {
        printf "%s %s: %d seeds, %.1f s each\n", config, options, NR, seconds / NR
        for (name in sum) {
            mean = sum[name] / NR
            variance = NR > 1 ? (squares[name] - NR * mean ^ 2) / (NR - 1) : 0
            printf "  test %s %.4f +- %.4f\n", name, mean, sqrt(variance < 0 ? 0 : variance)
        }
    }' "$results"
