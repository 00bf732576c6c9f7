# shellcheck shell=bash
# Machines of a lab, each nothing but namespaces around a first process (lab-init.sh): processes, network, mounts. Killing
# that process ends the machine and whatever the kernel had for it.
# Needs: say.sh, wait.sh, docker.sh (process_start_time), lab-plan.sh; $root, $lab (the lab's directory)
#
# <lab>/machines/<name>/   init: pid and start time; etc-docker: its /etc/docker; docker: its engine's data; logs
# shellcheck disable=SC2154 # the scripts that source this set these

machine_directory() { printf '%s/machines/%s\n' "$lab" "$1"; }

# machine_pid NAME: of its first process, as this machine counts. Fails if it does not run.
machine_pid() {
    local pid started
    read -r pid started 2>/dev/null <"$(machine_directory "$1")/init" || return 1
    [[ $(process_start_time "$pid") == "$started" ]] || return 1
    printf '%s\n' "$pid"
}

# machine_run NAME COMMAND…: inside of it.
machine_run() {
    local pid
    pid=$(machine_pid "$1") || die "$1 does not run"
    shift
    nsenter --target "$pid" --mount --uts --ipc --net --pid -- "$@"
}

# machine_detach NAME LOG COMMAND…: the same, left running with what it says in a log; what it writes to fd 9 is for nobody.
machine_detach() {
    local name=$1 log=$2
    shift 2
    machine_run "$name" setsid --fork "$@" >>"$log" 2>&1 </dev/null 9>&-
}

# machine_start NAME: with a network that leads nowhere yet.
machine_start() {
    local directory
    directory=$(machine_directory "$1")
    mkdir -p "$directory/etc-docker" /etc/docker
    rm -f "$directory/init" "$directory/ready"
    setsid --fork unshare --mount --uts --ipc --net --pid --fork -- "$root/scripts/lib/lab-init.sh" "$directory" "$1" \
        >"$directory/init.log" 2>&1 </dev/null 9>&-
    wait_until 20 test -e "$directory/ready" || die "the machine $1 does not start: $(tail -n 3 "$directory/init.log")"
}

# machine_kill NAME: returns when nothing of it runs any more.
machine_kill() {
    local pid
    pid=$(machine_pid "$1") || return 0
    # Its end is that of its namespace: the kernel kills all of it and has it wait for their ends.
    kill -KILL "$pid"
    wait_until 30 _machine_gone "$1" || die "the machine $1 (pid $pid) does not end"
}

_machine_gone() { ! machine_pid "$1" >/dev/null; }

# machine_ip NAME ARGUMENT…: the ip command in its network only, so that it counts processes as this machine does.
machine_ip() {
    local pid
    pid=$(machine_pid "$1") || die "$1 does not run"
    shift
    nsenter --target "$pid" --net -- ip "$@"
}

# network_of_hub: the bridge that all are on, and this machine's own way to it.
network_of_hub() {
    local pid
    pid=$(machine_pid hub)
    machine_ip hub link add lab0 type bridge
    machine_ip hub address add "$(lab_address hub)/24" dev lab0
    machine_ip hub link set lab0 up
    ip link add "$lab_link" type veth peer name host netns "$pid"
    ip link set "$lab_link" alias "$lab"
    ip address add "$(lab_address host)/24" dev "$lab_link"
    ip link set "$lab_link" up
    machine_ip hub link set host master lab0 up
}

# network_of NAME: connects a cell to the hub; its earlier end, if any, goes.
network_of() {
    local name=$1 pid
    pid=$(machine_pid "$name")
    machine_ip hub link delete "$name" 2>/dev/null || true
    machine_ip hub link add "$name" type veth peer name eth0 netns "$pid"
    machine_ip "$name" address add "$(lab_address "$name")/24" dev eth0
    machine_ip "$name" link set eth0 up
    machine_ip hub link set "$name" master lab0
    [[ -e $(machine_directory "$name")/cut ]] || machine_ip hub link set "$name" up
}
