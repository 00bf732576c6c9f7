# shellcheck shell=bash
# A broker with four cells on one engine, on the embedded store, in a directory of its own.
# Needs: say.sh, wait.sh, docker.sh, ports.sh; $root
#
# Sets: $binary, $work (its directory), $broker (its pid), $bridge, $store_url, $store_password, BROKER_URI
# shellcheck disable=SC2034,SC2154 # the scripts that source this give $root and use what is set

work=
broker=

site_build() {
    say "building the broker"
    (cd "$root" && cargo build --release --quiet)
    binary=${CARGO_TARGET_DIR:-$root/target}/release/patroni-broker
}

# site_start NAME: the name labels its containers.
site_start() {
    local api store
    work=$(mktemp -d /tmp/patroni-broker.XXXXXX)
    site=$1
    bridge=$(bridge_address)
    api=$(free_port 3000 3999) || die "no port from 3000 to 3999 is free"
    store=$(free_port 4001 4999) || die "no port from 4001 to 4999 is free"
    store_url=http://$bridge:$store
    store_password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    export BROKER_URI=http://starkandwayne:starkandwayne@127.0.0.1:$api
    _site_config "$api" "$store"
    "$binary" --config "$work/broker.toml" broker >"$work/broker.log" 2>&1 </dev/null &
    broker=$!
    if ! wait_until 30 curl -sf "$BROKER_URI/readyz"; then
        tail -n 30 "$work/broker.log" >&2
        die "the broker does not become ready"
    fi
}

_site_config() {
    local api=$1 store=$2 cell first=21000
    cat >"$work/broker.toml" <<TOML
[broker]
listen = "127.0.0.1:$api"
username = "starkandwayne"
password = "starkandwayne"
bind_host = "127.0.0.1"
name = "$site"

[storage]
engine = "embedded"
path = "data"
listen = "$bridge:$store"
username = "patroni-broker"
password = "$store_password"

[routing]
ports = "30000-30099"
listen = "127.0.0.1"
TOML
    for cell in c1@z1 c2@z1 c3@z2 c4@z2; do
        cat >>"$work/broker.toml" <<TOML

[[cells]]
guid = "${cell%@*}"
availability_zone = "${cell#*@}"
docker = "${DOCKER_HOST:-$DEFAULT_DOCKER_HOST}"
host = "$bridge"
ports = "$first-$((first + 99))"
TOML
        first=$((first + 100))
    done
    printf '\n' >>"$work/broker.toml"
    sed -n '/^\[\[services\]\]/,$p' "$root/config/local.example.toml" >>"$work/broker.toml"
    chmod 0600 "$work/broker.toml"
}

# Stops the broker, its HAProxy and its containers, and removes the directory. HAProxy outlives its broker on purpose;
# the pid file in the site's own directory names the one of this site.
site_stop() {
    local file pid
    [[ -n $work ]] || return 0
    if [[ -n $broker ]]; then
        kill -TERM "$broker" 2>/dev/null || true
        wait_until 20 _gone "$broker" || kill -KILL "$broker" 2>/dev/null || true
    fi
    for file in "$work"/haproxy/*.pid; do
        [[ -f $file ]] || continue
        pid=$(cat "$file")
        kill -TERM "$pid" 2>/dev/null || true
        wait_until 10 _gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
    done
    docker ps -aq --filter "label=patroni-broker.broker=$site" | xargs -r docker rm -f -v >/dev/null || true
    rm -rf "$work"
    work=
}

_gone() { ! kill -0 "$1" 2>/dev/null; }

seconds_since() { awk -v from="$1" -v to="$(date +%s%N)" 'BEGIN { printf "%.2f\n", (to - from) / 1e9 }'; }
