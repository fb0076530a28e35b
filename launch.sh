#!/usr/bin/env bash
# One machine, all processes: installs and builds what is missing, prepares the graph, trains.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cmake/setup.sh"

usage() {
    cat <<'TXT'
Usage: ./launch.sh [CONFIG] [--servers N] [--workers N] [--set KEY=VALUE ...]
Trains on one machine: a coordinator, servers and workers as processes of their own.

  CONFIG             configuration file; default conf/quickstart.yaml
  --servers N        the same as --set servers.count=N
  --workers N        the same as --set workers.count=N
  --set KEY=VALUE    override a configuration key (all keys: conf/defaults.yaml)
  --no-baseline      skip the run to compare with (run.baseline)
  --help             this text

Paths in a configuration are relative to the folder of launch.sh. An older run in run.dir is replaced
by the new one. The run to compare with goes to run.dir-baseline.

Progress is on stderr; the last line on stdout is one JSON object with the result. Each process's
log is in the run's folder (run.dir), under logs/. Ctrl-C ends everything.
Exit codes: 0 done; 64 usage; 65 bad data or below the expect: floor; 66 missing input; 69 a peer
stayed away; 74 input/output; 77 not allowed; 78 configuration; 130 after Ctrl-C.
TXT
}

config=conf/quickstart.yaml config_given= overrides=() with_baseline=1
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage; exit 0 ;;
    --servers | --workers | --set)
        [ $# -ge 2 ] || { say "launch.sh: $1 needs a value"; exit 64; }
        case $1 in
        --servers) overrides+=(--set "servers.count=$2") ;;
        --workers) overrides+=(--set "workers.count=$2") ;;
        --set) overrides+=(--set "$2") ;;
        esac
        shift 2 ;;
    --no-baseline) with_baseline=; shift ;;
    -*) say "launch.sh: unknown option $1 (see --help)"; exit 64 ;;
    *)
        [ -z "$config_given" ] || { say "launch.sh: more than one CONFIG: $1"; exit 64; }
        # Relative to where the user stands; everything else is relative to the project.
        config=$(realpath -m -- "$1") config_given=1
        shift ;;
    esac
done
cd "$here" || exit 74

install_packages conf/packages.txt || exit
say "building"
build release anthill-graph anthill-ps anthill-worker || exit
bin=$here/build/release/bin

# ---- processes: pid -> role, and what to start again ------------------------------------------
declare -A role_of=() command_of=() restarts_of=()
sockets= run_dir= restarts_max=20 tick=

start() { # ROLE COMMAND...: a process that ends when this script does, with its log
    local role=$1
    shift
    # stderr is the log; what the coordinator tells a person goes to our own stderr, as fd 3.
    setpriv --pdeathsig TERM "$@" 3>&2 >>"$run_dir/logs/$role.log" 2>&1 </dev/null &
    role_of[$!]=$role
    printf '%s\n' "$!" >"$run_dir/pids/$role"
    command_of[$role]=$(printf '%q ' "$@")
}

stop_all() { # ends what runs: asks, then kills after ten seconds
    local pid waited=0
    [ "${#role_of[@]}" -gt 0 ] && kill -TERM "${!role_of[@]}" 2>/dev/null
    for pid in "${!role_of[@]}"; do
        while kill -0 "$pid" 2>/dev/null && [ "$waited" -lt 200 ]; do
            sleep 0.05
            waited=$((waited + 1))
        done
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    role_of=()
}

clean_up() {
    stop_all
    [ -n "$sockets" ] && rm -rf "$sockets"
    sockets=
}
trap clean_up EXIT
trap 'say ""; say "stopping"; clean_up; exit 130' INT
trap 'say "stopping"; clean_up; exit 143' TERM

# An exit code that a restart cannot mend: the same input fails again.
is_permanent() { case $1 in 0 | 64 | 65 | 66 | 69 | 74 | 77 | 78) return 0 ;; *) return 1 ;; esac }

fail() { # CODE ROLE: shows why, and the JSON line that every run ends in
    local text
    text=$(grep -v '^20..-' "$run_dir/logs/$2.log" 2>/dev/null | tail -n 1)
    [ -n "$text" ] || text=$(tail -n 1 "$run_dir/logs/$2.log" 2>/dev/null)
    say "$2 ended with exit code $1: $text"
    say "log: $run_dir/logs/$2.log"
    stop_all
    text=${text//[[:cntrl:]]/ }
    text=${text//\\/\\\\}
    printf '{"status":"failed","process":"%s","exit_code":%d,"error":"%s"}\n' "$2" "$1" \
        "${text//\"/\\\"}"
    exit "$1"
}

await_endpoint() { # waits until the coordinator has said where it listens
    local pid=$1 code=0
    until [ -s "$run_dir/coordinator.endpoint" ]; do
        if ! kill -0 "$pid" 2>/dev/null; then
            wait "$pid"
            code=$?
            unset "role_of[$pid]"
            fail "$code" coordinator
        fi
        sleep 0.01
    done
    endpoint=$(<"$run_dir/coordinator.endpoint")
}

# Sets `pid` and `code` of a process that has ended. `wait -n` says nothing of those that ended while
# another one was started again: all are looked at first, and again every second.
await_death() {
    while true; do
        for pid in "${!role_of[@]}"; do
            kill -0 "$pid" 2>/dev/null && continue
            wait "$pid" 2>/dev/null
            code=$?
            return
        done
        [ -n "$tick" ] && kill -0 "$tick" 2>/dev/null || { sleep 1 >/dev/null 2>&1 & tick=$!; }
        pid=
        wait -n -p pid "$tick" "${!role_of[@]}" 2>/dev/null # without the shell's own notice
        code=$?
        [ -n "$pid" ] && [ "$pid" != "$tick" ] && return
    done
}

supervise() { # until the coordinator ends; starts again what was killed
    local pid code role
    while true; do
        await_death
        role=${role_of[$pid]}
        unset "role_of[$pid]"
        if [ "$role" = coordinator ] && { [ -s "$run_dir/result.json" ] || is_permanent "$code"; }; then
            return "$code"
        fi
        # The run is over, or a worker was asked to stop; a server that was is needed.
        if [ "$code" -eq 0 ]; then
            case $role in server-*) [ -s "$run_dir/result.json" ] && continue ;; *) continue ;; esac
        fi
        is_permanent "$code" && fail "$code" "$role"
        restarts_of[$role]=$((${restarts_of[$role]:-0} + 1))
        [ "${restarts_of[$role]}" -le "$restarts_max" ] || fail "$code" "$role"
        say "$role died (exit code $code): started again"
        eval "start $role ${command_of[$role]}"
    done
}

# Reads the values that this script needs from the configuration. NAME=VALUE lines, shell-quoted.
resolve() { # OVERRIDE...
    local settings
    settings=$("$bin/anthill-ps" coordinator "$config" --check "$@") || exit
    baseline=()
    eval "$settings"
}

prepare_run_dir() { # an older run there is replaced; any other folder is left alone
    if [ -e "$run_dir" ] && [ ! -f "$run_dir/run.yaml" ] && [ -n "$(ls -A "$run_dir")" ]; then
        say "launch.sh: run.dir $run_dir is not empty and holds no run; remove it or choose another"
        exit 78
    fi
    local made
    for made in run.yaml result.json metrics.jsonl logs pids checkpoints export; do
        rm -rf "${run_dir:?}/$made"
    done
    rm -f "$run_dir"/coordinator.*
    mkdir -p "$run_dir/logs" "$run_dir/pids" || exit 74
}

train() { # OVERRIDE...: one run; its result is in $run_dir/result.json
    local listen code server worker
    prepare_run_dir
    listen="tcp://$host:*"
    if [ "$transport" = ipc ]; then
        sockets=$(mktemp -d /tmp/anthill.XXXXXX) || exit 74
        listen="ipc://$sockets/coordinator"
    fi
    restarts_of=()
    start coordinator "$bin/anthill-ps" coordinator "$config" "$@" --endpoint "$listen" \
        --stats-port 0 --progress-fd 3
    await_endpoint "$!"
    # A coordinator that is started again must be found where it was.
    command_of[coordinator]=${command_of[coordinator]/"$(printf '%q' "$listen")"/$(printf '%q' "$endpoint")}
    for ((server = 0; server < servers; server++)); do
        start "server-$server" "$bin/anthill-ps" serve "$config" "$@" --server "$server" \
            --coordinator "$endpoint" --stats-port 0
    done
    for ((worker = 0; worker < workers; worker++)); do
        start "worker-$worker" "$bin/anthill-worker" train "$config" "$@" \
            --coordinator "$endpoint" --name "worker-$worker" --stats-port 0
    done
    supervise
    code=$?
    stop_all
    [ -n "$sockets" ] && rm -rf "$sockets"
    sockets=
    [ "$code" -eq 0 ] || [ -s "$run_dir/result.json" ] || fail "$code" coordinator
    return "$code"
}

# ---- the run ----------------------------------------------------------------------------------
resolve "${overrides[@]}"
if [[ " $graph_import " == *" debian "* ]] && ! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; then
    run_quietly "apt-get update" apt-get update || exit 69
fi
if [ -n "$graph_import" ]; then
    "$bin/anthill-graph" import --config "$config" "${overrides[@]}" || exit
fi
"$bin/anthill-worker" train "$config" "${overrides[@]}" --check >/dev/null || exit

baseline_result=
if [ "${#baseline[@]}" -gt 0 ] && [ -n "$with_baseline" ]; then
    settings=("${overrides[@]}")
    for setting in "${baseline[@]}"; do settings+=(--set "$setting"); done
    settings+=(--set "run.dir=$run_dir-baseline" --set "run.name=$baseline_name"
        --set expect.value=0)
    resolve "${settings[@]}"
    train "${settings[@]}" || fail $? coordinator
    baseline_result=$(<"$run_dir/result.json")
    resolve "${overrides[@]}"
fi
train "${overrides[@]}"
code=$?
result=$(<"$run_dir/result.json")
scores() { # RESULT: the test metrics for a person
    sed -n 's/.*"test":{\([^}]*\)}.*/\1/p' <<<"$1" | tr -d '"' | tr ',:' '\n ' |
        LC_ALL=C awk '{ printf "%s%s %.4f", (NR == 1 ? "" : ", "), $1, $2 }'
}
if [ -n "$baseline_result" ]; then
    result="${result%\}},\"baseline\":$baseline_result}"
    say "$baseline_name: $(scores "$baseline_result")"
    say "$run_name: $(scores "$(<"$run_dir/result.json")")"
fi
printf '%s\n' "$result"
exit "$code"
