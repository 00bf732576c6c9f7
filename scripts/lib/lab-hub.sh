# shellcheck shell=bash
# What runs on the hub of a lab: etcds, and the broker with its router.
# Needs: say.sh, wait.sh, lab-plan.sh, lab-configuration.sh, lab-machine.sh; $lab, $lab_storage, $lab_password, $lab_binary
# shellcheck disable=SC2154 # the scripts that source this set these

broker_directory() { printf '%s/broker\n' "$(machine_directory hub)"; }
broker_config() { printf '%s/broker.toml\n' "$(broker_directory)"; }
broker_log() { printf '%s/broker.log\n' "$(machine_directory hub)"; }
broker_uri() { printf 'http://starkandwayne:%s@%s:3000\n' "$lab_password" "$(lab_address hub)"; }

etcds_start() {
    local number directory environment endpoint
    directory=$(machine_directory hub)
    for ((number = 1; number <= LAB_ETCDS; number++)); do
        mapfile -t environment < <(lab_etcd_environment "$number" "$directory/etcd$number")
        machine_detach hub "$directory/etcd$number.log" env --ignore-environment "PATH=$PATH" "${environment[@]}" etcd
    done
    for endpoint in $(lab_etcd_endpoints); do
        wait_until 30 curl -sf --noproxy '*' --max-time 2 "$endpoint/health" && continue
        tail -n 5 "$directory"/etcd*.log >&2
        die "the etcd at $endpoint does not become ready"
    done
}

broker_configure() {
    mkdir -p "$(broker_directory)"
    lab_broker_configuration "$lab_storage" "$lab_password" "$lab/certificates/client" >"$(broker_config)"
    chmod 0600 "$(broker_config)"
}

broker_start() {
    ! broker_runs || die "the broker runs already"
    # Its own pid, by which it is found again; HAProxy, which outlives it, is its own business.
    # shellcheck disable=SC2016 # expanded inside of the machine
    machine_detach hub "$(broker_log)" env -u PORT "RUST_LOG=${RUST_LOG:-info,patroni_broker=debug}" \
        bash -c 'echo $$ >/run/broker.pid; exec "$0" --config "$1" broker' "$lab_binary" "$(broker_config)"
    broker_is_ready
}

broker_is_ready() {
    wait_until 60 curl -sf --noproxy '*' --max-time 5 "$(broker_uri)/readyz" && return 0
    tail -n 20 "$(broker_log)" >&2
    die "the broker does not become ready"
}

# broker_signal SIGNAL: fails if it does not run.
broker_signal() {
    # A name that another program has by now does not count.
    # shellcheck disable=SC2016 # expanded inside of the machine
    machine_run hub bash -c '
        read -r pid </run/broker.pid && read -r name <"/proc/$pid/comm" && [[ $name == "${1:0:15}" ]] && kill -s "$0" "$pid"
    ' "$1" "${lab_binary##*/}" 2>/dev/null
}

broker_runs() { broker_signal 0; }
_broker_gone() { ! broker_runs; }

broker_stop() {
    broker_signal TERM || return 0
    wait_until 60 _broker_gone || die "the broker does not stop"
}

broker_kill() {
    broker_signal KILL || return 0
    wait_until 10 _broker_gone || die "the broker does not die"
}

# The configuration is read anew, without a restart.
broker_reload() { broker_signal HUP || die "the broker does not run"; }
