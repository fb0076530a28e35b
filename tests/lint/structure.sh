#!/usr/bin/env bash
# Keeps the structure that ARCHITECTURE.md states: which folder includes which, that state machines
# stay free of I/O, that one file knows ZeroMQ, and that a module's name is used once.
set -uo pipefail
cd "$(dirname "$0")/../.."
failed=0
complain() { # TITLE LINES
    [ -z "$2" ] && return
    printf '%s\n%s\n' "$1" "$2"
    failed=1
}

complain "includes against the direction worker -> graph, ps -> common:" "$(
    grep -nE '#include "(worker|ps)/' graph/*.[ch] graph/importers/*.[ch]
    grep -nE '#include "(worker|graph)/' ps/*.[ch] ps/client/*.[ch]
    grep -nE '#include "(worker|graph|ps)/' common/*.[ch]
)"
complain "worker uses of ps beyond its client, checkpoint reader, table specs and forms of rows:" "$(
    grep -nE '#include "ps/' worker/*.[ch] worker/*/*.[ch] |
        grep -vE '"ps/(client/[a-z_]+|checkpoint|table_spec|row_codec)\.h"'
)"
complain "zmq.h outside common/transport_zmq.c:" "$(
    grep -lE '#include <zmq\.h>' common/*.[ch] graph/*.[ch] ps/*.[ch] ps/client/*.[ch] worker/*.[ch] |
        grep -vx common/transport_zmq.c
)"
complain "modules that share a name:" "$(
    find common graph ps worker -name '*.c' -printf '%f\n' | sort | uniq -d
)"
while read -r file; do
    case $file in '' | '#'*) continue ;; esac
    [ -f "$file" ] || complain "named in tests/lint/pure_modules.txt, but not there:" "$file"
    complain "$file is a state machine or pure computation and must not include:" "$(
        grep -nE '#include (<(zmq|pthread|time|unistd|sys/socket|fcntl)\.h>|"common/(file|clock|log|transport|config|stats_server)\.h")' \
            "$file" | grep -v 'sys/mman'
        grep -nE '\b(fopen|fprintf|printf|fwrite|clock_gettime)\(' "$file"
    )"
done <tests/lint/pure_modules.txt
exit "$failed"
