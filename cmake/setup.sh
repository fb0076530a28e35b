# Sourced by launch.sh and test.sh: installs what is missing and builds. Quick when nothing is.

# What was said goes to stderr; a step's output only when it fails.
say() { printf '%s\n' "$*" >&2; }

run_quietly() { # LABEL COMMAND...
    local label=$1 log status=0
    shift
    log=$(mktemp)
    "$@" >"$log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        say "$label failed ($*):"
        tail -n 40 "$log" >&2
    fi
    rm -f "$log"
    return "$status"
}

install_packages() { # FILE...: package lists
    local missing=() package
    while read -r package; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done < <(grep -hv '^#' "$@")
    [ "${#missing[@]}" -eq 0 ] && return 0
    say "installing ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        say "these packages are missing; as root: apt-get install ${missing[*]}"
        return 77
    fi
    export DEBIAN_FRONTEND=noninteractive
    run_quietly "apt-get update" apt-get update || return 69
    run_quietly "apt-get install" apt-get install -y --no-install-recommends "${missing[@]}" ||
        return 69
}

build() { # PRESET [TARGET...]
    local preset=$1
    shift
    [ -f "build/$preset/build.ninja" ] ||
        run_quietly "configuring" cmake --preset "$preset" || return 70
    run_quietly "building" cmake --build "build/$preset" ${@:+--target "$@"} || return 70
}
