#!/usr/bin/env bash
# A seed makes one run: again, after other runs in the same process, and with its trace printed.
set -euo pipefail
sim=$1
again=$("$sim" --seeds 1..30)
[ "$again" = "$("$sim" --seeds 1..30)" ]
for seed in 7 30; do
    alone=$("$sim" --seed "$seed")
    traced=$("$sim" --seed "$seed" --trace | tail -n 1)
    [ "$alone" = "$traced" ] || { echo "seed $seed: $alone, but with --trace $traced"; exit 1; }
done
# The sum over a range is made of each run's hash, whatever ran before it.
two=$("$sim" --seeds 29..30)
[ "$two" = "$("$sim" --seeds 29..30 --trace | tail -n 1)" ]
echo "$again"
