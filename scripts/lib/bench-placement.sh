# shellcheck shell=bash
# What one more node costs to plan and to place with more and more instances on 100 cells, next to reading every
# instance's record as the Go ancestor did; and the memory of a broker that serves a store with so many.
# Needs: say.sh, wait.sh, packages.sh, ports.sh; $root, $binary (site.sh)
# shellcheck disable=SC2154

readonly PLACEMENT_INSTANCES='10 100 1000 5000 10000'
readonly PLACEMENT_CELLS=100
# What takes no more than so many times as long with the most instances as with the fewest counts as flat.
readonly PLACEMENT_FLAT=1.5
# With so many instances, one node is planned within so much.
readonly PLACEMENT_AIMED=5000 PLACEMENT_AIM_NS=1000000
placement_work='' placement_broker='' placement_missed=no

placement_bench() {
    local instances
    require_packages curl jq
    placement_work=$(mktemp -d "${CARGO_TARGET_DIR:-$root/target}/bench-placement.XXXXXX")
    placement_build
    say "timing with criterion"
    (cd "$root" && CRITERION_HOME=$placement_work/criterion cargo bench --quiet --bench placement -- --sample-size 100) \
        >"$placement_work/criterion.log" 2>&1 || {
        tail -n 30 "$placement_work/criterion.log" >&2
        die "the benchmark fails"
    }
    printf '\none more node for a cluster of two, on %s cells; medians, the store in memory; then an idle broker\n' \
        "$PLACEMENT_CELLS"
    # printf would count the bytes of a letter that is none of ASCII's.
    echo 'instances  plan, µs  rehearse, µs  read all, ms  read/plan  RssAnon, MB  VmRSS, MB  store, MB'
    for instances in $PLACEMENT_INSTANCES; do
        placement_row "$instances"
    done
    placement_flat plan
    placement_flat rehearse
    placement_soon plan
    [[ $placement_missed == no ]]
}

placement_build() {
    say "building what fills a store"
    (cd "$root" && cargo build --release --quiet --example fill_store)
}

# placement_row INSTANCES
placement_row() {
    local plan rehearse read anonymous resident size
    plan=$(placement_ns plan "$1")
    rehearse=$(placement_ns rehearse "$1")
    read=$(placement_ns read "$1")
    placement_start "$1"
    anonymous=$(placement_status RssAnon)
    resident=$(placement_status VmRSS)
    placement_end
    size=$(du --bytes --summarize "$placement_work/$1/data" | cut -f 1)
    rm -rf "${placement_work:?}/$1"
    awk -v instances="$1" -v plan="$plan" -v rehearse="$rehearse" -v read="$read" \
        -v anonymous="$anonymous" -v resident="$resident" -v size="$size" 'BEGIN {
            printf "%9d  %8.1f  %12.1f  %12.3f  %9.1f  %11.1f  %9.1f  %9.1f\n", instances, plan / 1e3, rehearse / 1e3,
                read / 1e6, read / plan, anonymous / 1024, resident / 1024, size / 1048576 }'
}

# placement_ns WHAT INSTANCES: criterion's median, in nanoseconds.
placement_ns() {
    jq -e '.median.point_estimate' "$placement_work/criterion/one-more-node/$1/$2/new/estimates.json"
}

# placement_fastest WHAT INSTANCES: the fastest sample, in nanoseconds. Whatever else the machine does at one time and
# not at another is in the medians, and hardly in this.
placement_fastest() {
    jq -e '[.times, .iters] | transpose | map(.[0] / .[1]) | min' \
        "$placement_work/criterion/one-more-node/$1/$2/new/sample.json"
}

# placement_flat WHAT
placement_flat() {
    local first=${PLACEMENT_INSTANCES%% *} last=${PLACEMENT_INSTANCES##* }
    awk -v what="$1" -v first="$first" -v last="$last" -v limit="$PLACEMENT_FLAT" \
        -v few="$(placement_fastest "$1" "$first")" -v many="$(placement_fastest "$1" "$last")" 'BEGIN {
            flat = many / few <= limit
            printf "%s, fastest samples: %.1f µs with %d instances, %.1f with %d, %.2f times as long: %s\n", what,
                few / 1e3, first, many / 1e3, last, many / few, flat ? "flat" : "NOT FLAT"
            exit !flat }' || placement_missed=yes
}

# placement_soon WHAT
placement_soon() {
    awk -v what="$1" -v instances="$PLACEMENT_AIMED" -v aim="$PLACEMENT_AIM_NS" \
        -v median="$(placement_ns "$1" "$PLACEMENT_AIMED")" 'BEGIN {
            soon = median < aim
            printf "%s, median with %d instances: %.3f ms: %s %.0f ms\n", what, instances, median / 1e6,
                soon ? "under" : "NOT UNDER", aim / 1e6
            exit !soon }' || placement_missed=yes
}

# placement_start INSTANCES: a broker on a store with so many, which has come to rest.
placement_start() {
    local directory=$placement_work/$1 api store last
    mkdir "$directory"
    "${CARGO_TARGET_DIR:-$root/target}/release/examples/fill_store" "$directory/data" "$1"
    api=$(free_port 3000 3999) || die "no port from 3000 to 3999 is free"
    store=$(free_port 4001 4999) || die "no port from 4001 to 4999 is free"
    placement_config "$api" "$store" >"$directory/broker.toml"
    chmod 0600 "$directory/broker.toml"
    RUST_LOG=warn "$binary" --config "$directory/broker.toml" broker >"$directory/broker.log" 2>&1 </dev/null &
    placement_broker=$!
    if ! wait_until 60 curl -sf "http://127.0.0.1:$api/livez"; then
        tail -n 30 "$directory/broker.log" >&2
        die "the broker does not start"
    fi
    last=$(printf '%08d' "$(($1 - 1))")-e1b2-11e5-a736-c7c0b526363d
    curl -sf -o /dev/null -u platform:hush -H 'X-Broker-API-Version: 2.17' \
        "http://127.0.0.1:$api/v2/service_instances/$last" || die "the broker does not know its last instance"
    wait_until 120 _rests "$placement_broker" || die "the broker does not come to rest"
}

# Nobody listens at the cells' engines, and nobody routes.
placement_config() {
    local api=$1 store=$2 cell
    cat <<TOML
[broker]
listen = "127.0.0.1:$api"
username = "platform"
password = "hush"
bind_host = "127.0.0.1"
name = "bench"

[storage]
engine = "embedded"
path = "data"
listen = "127.0.0.1:$store"
password = "hush"

[routing]
ports = "20000-32767"
haproxy = false

[registrar]
enabled = false
TOML
    for ((cell = 0; cell < PLACEMENT_CELLS; cell++)); do
        cat <<TOML

[[cells]]
guid = "10.244.21.$cell"
availability_zone = "z$((cell % 3))"
docker = "tcp://127.244.21.$cell:2375"
host = "10.244.21.$cell"
ports = "20000-20999"
TOML
    done
    printf '\n'
    sed -n '/^\[\[services\]\]/,$p' "$root/config/local.example.toml"
}

# placement_status FIELD: of the broker, in KB.
placement_status() { awk -v field="$1:" '$1 == field { print $2 }' "/proc/$placement_broker/status"; }

# Succeeds if the process takes less than a hundredth of a processor for three seconds.
_rests() {
    local before
    before=$(_ticks "$1")
    sleep 3
    (($(_ticks "$1") - before < 3 * $(getconf CLK_TCK) / 100))
}

# Its name, which may hold anything, ends with the last parenthesis.
_ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }

placement_end() {
    [[ -n $placement_broker ]] || return 0
    kill -TERM "$placement_broker" 2>/dev/null || true
    wait_until 20 _gone "$placement_broker" || kill -KILL "$placement_broker" 2>/dev/null || true
    placement_broker=''
}

placement_stop() {
    [[ -n $placement_work ]] || return 0
    placement_end
    rm -rf "$placement_work"
    placement_work=''
}
