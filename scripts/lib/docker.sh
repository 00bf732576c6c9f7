# shellcheck shell=bash
# A Docker engine to work with: the one that answers, or one of our own that is stopped again.
# Needs: say.sh, wait.sh, packages.sh
#
# A state directory remembers an engine that was started here:
#   <state>/dockerd.owner   pid and start time, so that a recycled pid is never taken for our engine
#   <state>/dockerd.log     its log

readonly DEFAULT_DOCKER_HOST=unix:///var/run/docker.sock

docker_answers() {
    command -v docker >/dev/null && timeout 10 docker version >/dev/null 2>&1
}

# The time at which a process started, in ticks since boot; together with the pid it names one process for ever.
# The command's name in the second field may hold anything, so the fields are counted after its closing bracket.
process_start_time() {
    local stat fields
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -r -a fields <<<"${stat##*) }"
    printf '%s\n' "${fields[19]}"
}

# The largest packet that leaves this machine unbroken. A bridge with a larger one loses big packets on some networks.
default_route_mtu() {
    local device
    device=$(ip -4 route show default 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
    cat "/sys/class/net/${device:-none}/mtu" 2>/dev/null || echo 1500
}

# ensure_docker STATE_DIR: returns once an engine answers at DOCKER_HOST, or else at the default socket.
ensure_docker() {
    local state=$1
    docker_answers && return 0
    if [[ ${DOCKER_HOST:-$DEFAULT_DOCKER_HOST} != "$DEFAULT_DOCKER_HOST" && ${DOCKER_HOST:-} != unix:///run/docker.sock ]]; then
        die "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST"
    fi
    ((EUID == 0)) || die "no Docker engine answers; run as root to have one installed and started"
    mkdir -p "$state"
    # Two scripts may find the engine missing at the same moment; the second one then finds the first one's engine.
    exec {docker_lock}>/run/lock/patroni-broker-docker.lock
    flock --wait 300 "$docker_lock" || die "another script has been starting a Docker engine for five minutes"
    docker_answers || _start_docker "$state"
    exec {docker_lock}>&-
}

_start_docker() {
    local state=$1 mtu options=() pid
    command -v dockerd >/dev/null || require_packages docker.io
    require_packages iptables iproute2
    # On a machine with an init system the installation, or the init system, starts the engine. It then belongs
    # to the machine and is left alone. A container or chroot has no init system, and policy-rc.d denies starts.
    if [[ -d /run/systemd/system ]] && ! wait_until 15 docker_answers; then
        systemctl start docker >/dev/null 2>&1 || true
    fi
    if [[ -d /run/systemd/system ]] && wait_until 30 docker_answers; then
        return 0
    fi
    mtu=$(default_route_mtu)
    ((mtu >= 1500)) || options+=(--mtu "$mtu")
    say "starting a Docker engine (log: $state/dockerd.log)"
    # Left by an engine that was killed; it would refuse to start where another process has that pid by now.
    rm -f "$state/dockerd.pid"
    # setsid: a Ctrl-C meant for the script must not reach the engine before the script has tidied up.
    setsid --fork dockerd --host "$DEFAULT_DOCKER_HOST" --data-root "${DOCKER_DATA_ROOT:-/var/lib/docker}" \
        --pidfile "$state/dockerd.pid" "${options[@]}" >"$state/dockerd.log" 2>&1 </dev/null {docker_lock}>&-
    if ! wait_until 60 docker_answers; then
        tail -n 20 "$state/dockerd.log" >&2
        die "the Docker engine does not answer 60 s after its start"
    fi
    pid=$(cat "$state/dockerd.pid")
    printf '%s %s\n' "$pid" "$(process_start_time "$pid")" >"$state/dockerd.owner"
}

# stop_docker_if_ours STATE_DIR: stops the engine that ensure_docker started with this state directory, if any.
# An engine that was there before, or that has been replaced since, is left alone.
stop_docker_if_ours() {
    local state=$1 pid started
    [[ -f $state/dockerd.owner ]] || return 0
    read -r pid started <"$state/dockerd.owner"
    if [[ $(process_start_time "$pid") == "$started" ]]; then
        say "stopping the Docker engine that was started here"
        kill -TERM "$pid"
        wait_until 60 _process_gone "$pid" "$started" || say "the Docker engine (pid $pid) does not stop; left running"
    fi
    rm -f "$state/dockerd.owner"
}

_process_gone() {
    [[ $(process_start_time "$1") != "$2" ]]
}

# The default bridge's address on this machine: containers reach the host's services there, and published ports too.
bridge_address() {
    local address
    address=$(docker network inspect bridge --format '{{range .IPAM.Config}}{{println .Gateway .Subnet}}{{end}}' |
        awk '$1 ~ /^[0-9.]+$/ { print $1; exit }')
    # Before the engine is configured otherwise, its network may have no gateway recorded; the interface knows.
    if [[ -z $address ]]; then
        address=$(ip -4 -oneline address show dev docker0 2>/dev/null | awk '{ sub("/.*", "", $4); print $4; exit }')
    fi
    [[ -n $address ]] || die "the Docker engine has no default bridge"
    printf '%s\n' "$address"
}
