# shellcheck shell=bash
# What the front door costs, next to a program on Go's net/http that answers the same bytes after the same check: in
# pairs that alternate, and the medians of them.
# Needs: say.sh, wait.sh, packages.sh, ports.sh; $root, $state, $binary (site.sh)
# shellcheck disable=SC2154

readonly HTTP_SERVICE=5f0f6b0e-9d0b-4d0c-8f0e-3f3a3f1c0d01
readonly HTTP_PLAN=5f0f6b0e-9d0b-4d0c-8f0e-3f3a3f1c0d02
readonly HTTP_BODY="{\"service_id\": \"$HTTP_SERVICE\", \"plan_id\": \"$HTTP_PLAN\"}"
readonly HTTP_INSTANCE=/v2/service_instances/steady
http_work='' http_broker='' http_go='' http_api='' http_go_port=''

# http_bench PAIRS
http_bench() {
    local pairs=$1 rows row connections
    require_packages curl wrk golang-go python3
    http_start
    printf '\nthe front door and Go net/http, medians of %s pairs; latencies in ms\n' "$pairs"
    printf '%-16s %5s  %10s %8s %8s %9s  %10s %8s %8s %9s  %6s\n' \
        what conns broker/s p50 p99 resident go/s p50 p99 resident ratio
    rows=("catalog GET /v2/catalog" "last_operation GET $HTTP_INSTANCE/last_operation" "fetch GET $HTTP_INSTANCE"
        "bind-again PUT $HTTP_INSTANCE/service_bindings/again" "bind-new PUT $HTTP_INSTANCE/service_bindings/")
    for row in "${rows[@]}"; do
        for connections in 1 32 512; do
            # shellcheck disable=SC2086 # three words
            http_row "$pairs" "$connections" $row
        done
    done
    http_trickle broker "$http_api" "$http_broker"
    http_trickle net/http "$http_go_port" "$http_go"
}

http_curl() { curl -s -u platform:hush -H 'X-Broker-API-Version: 2.17' "$@"; }

http_start() {
    local url
    http_work=$(mktemp -d /tmp/patroni-broker.XXXXXX)
    http_api=$(free_port $((3000 + RANDOM % 900)) 3999) || die "no port from 3000 to 3999 is free"
    http_go_port=$(free_port $((http_api + 1)) 4000) || die "no port up to 4000 is free"
    url=http://127.0.0.1:$http_api
    http_config "$(free_port 4001 4999)" >"$http_work/broker.toml"
    chmod 0600 "$http_work/broker.toml"
    RUST_LOG=warn "$binary" --config "$http_work/broker.toml" broker >"$http_work/broker.log" 2>&1 </dev/null &
    http_broker=$!
    wait_until 30 curl -sf "$url/livez" || die "the broker does not answer: $(tail -n 5 "$http_work/broker.log")"
    http_curl -f -o /dev/null -X PUT "$url$HTTP_INSTANCE" -d "$HTTP_BODY" || say "no instance: only the catalog is there"
    http_curl -o "$http_work/catalog" "$url/v2/catalog"
    http_curl -o "$http_work/last_operation" "$url$HTTP_INSTANCE/last_operation"
    http_curl -o "$http_work/fetch" "$url$HTTP_INSTANCE"
    http_curl -o "$http_work/bind" -X PUT "$url$HTTP_INSTANCE/service_bindings/again" -d "$HTTP_BODY"
    http_build_go
    "$state/bench/nethttp" "127.0.0.1:$http_go_port" platform:hush "GET:/v2/catalog:200:$http_work/catalog" \
        "GET:$HTTP_INSTANCE/last_operation:200:$http_work/last_operation" "GET:$HTTP_INSTANCE:200:$http_work/fetch" \
        "PUT:$HTTP_INSTANCE/service_bindings/again:200:$http_work/bind" \
        "PUT:$HTTP_INSTANCE/service_bindings/:201:$http_work/bind" >"$http_work/go.log" 2>&1 </dev/null &
    http_go=$!
    wait_until 10 http_curl -f "http://127.0.0.1:$http_go_port/v2/catalog" || die "net/http does not answer: $(cat "$http_work/go.log")"
}

http_config() {
    cat <<TOML
[broker]
listen = "127.0.0.1:$http_api"
username = "platform"
password = "hush"
bind_host = "127.0.0.1"

[storage]
engine = "embedded"
path = "data"
listen = "127.0.0.1:$1"
password = "hush"

[routing]
haproxy = false
ports = "30000-30099"

[registrar]
enabled = false

[[services]]
id = "$HTTP_SERVICE"
name = "dream"
driver = "dream"
description = "Nothing but what was posted"

[[services.plans]]
id = "$HTTP_PLAN"
name = "dream"
description = "The only one"
TOML
}

http_build_go() {
    mkdir -p "$state/bench"
    GOCACHE=$state/bench/gocache GOFLAGS='' GO111MODULE=off GOPROXY=off \
        go build -o "$state/bench/nethttp" "$root/scripts/bench.d/nethttp/main.go" || die "the Go program does not build"
}

# http_row PAIRS CONNECTIONS NAME METHOD PATH
http_row() {
    local pairs=$1 connections=$2 name=$3 method=$4 path=$5 pair ours=$http_work/ours theirs=$http_work/theirs
    rm -f "$ours" "$theirs"
    for ((pair = 1; pair <= pairs; pair++)); do
        http_load "$http_api" "$connections" "$name" "$method" "$path" "$pair" >>"$ours"
        http_load "$http_go_port" "$connections" "$name" "$method" "$path" "$pair" >>"$theirs"
    done
    printf '%-16s %5s  %10s %8s %8s %9s  %10s %8s %8s %9s  %6s%s\n' "$name" "$connections" \
        "$(column 2 "$ours")" "$(column 3 "$ours")" "$(column 4 "$ours")" "$(resident "$http_broker")" \
        "$(column 2 "$theirs")" "$(column 3 "$theirs")" "$(column 4 "$theirs")" "$(resident "$http_go")" \
        "$(awk -v ours="$(column 2 "$ours")" -v theirs="$(column 2 "$theirs")" 'BEGIN { printf "%.2f", ours / theirs }')" \
        "$(awk '{ status += $5; other += $6 } END { if (status + other) printf "  (%d refusals, %d failures)", status, other }' "$ours" "$theirs")"
}

# http_load PORT CONNECTIONS NAME METHOD PATH RUN: one line of figures.
http_load() {
    local arguments=("$4")
    [[ $4 == PUT ]] && arguments+=("$HTTP_BODY")
    [[ $3 == bind-new ]] && arguments+=("b$2-$6")
    wrk --threads "$(($2 < 2 ? 1 : 2))" --connections "$2" --duration 3s --timeout 10s --latency \
        --header "Authorization: Basic $(printf platform:hush | base64)" --header 'X-Broker-API-Version: 2.17' \
        --script "$root/scripts/bench.d/request.lua" "http://127.0.0.1:$1$5" -- "${arguments[@]}" | grep '^figures'
}

column() { awk -v column="$1" '{ print $column }' "$2" | median; }

resident() { awk '/VmRSS/ { printf "%.1fMB", $2 / 1024 }' "/proc/$1/status"; }

# http_trickle NAME PORT PID
http_trickle() {
    printf '\n%s: honest requests before and while 2,000 connections trickle: p50, p99, longest in ms, answered, not answered\n' "$1"
    python3 "$root/scripts/bench.d/trickle.py" 127.0.0.1 "$2" /v2/catalog platform:hush 2000 15
    printf 'resident memory afterwards: %s, at most %s\n' "$(resident "$3")" "$(awk '/VmHWM/ { printf "%.1fMB", $2 / 1024 }' "/proc/$3/status")"
}

http_stop() {
    local pid
    [[ -n $http_work ]] || return 0
    for pid in $http_broker $http_go; do
        kill -TERM "$pid" 2>/dev/null || true
        wait_until 20 _gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
    done
    rm -rf "$http_work"
    http_work=''
}
