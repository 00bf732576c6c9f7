# shellcheck shell=bash
# What the embedded store costs, next to a real etcd 3.4 with its v2 API, on the same disk: in pairs that alternate, and
# the medians of them.
# Needs: say.sh, wait.sh, packages.sh, ports.sh; $root, $binary (site.sh); median (bench)
# shellcheck disable=SC2154

readonly STORE_KEYS=100000
readonly STORE_ROUNDS=30
store_work='' store_load='' store_ours='' store_etcd='' store_ours_at='' store_etcd_at=''

# store_bench PAIRS
store_bench() {
    local pairs=$1 pair kind connections watchers
    require_packages curl wrk etcd-server
    store_build
    store_work=$(store_directory)
    printf '\nthe embedded store and %s, medians of %s pairs; latencies in ms\n' "$(etcd --version | head -n 1)" "$pairs"
    for ((pair = 1; pair <= pairs; pair++)); do
        store_pair "$pair"
    done
    store_head
    store_row "disk alone, per put" 1 ours-sync etcd-sync
    for kind in put get swap; do
        for connections in 1 32; do
            store_row "$kind" "$connections" "ours-$kind-$connections" "etcd-$kind-$connections"
        done
    done
    store_row "load 100,000 keys" 64 ours-load etcd-load
    printf '\n%-34s %10s %10s  %6s\n' 'the less the better' store etcd ratio
    for watchers in 1 1000; do
        store_figure "put to the last of $watchers watchers, ms" "watch-$watchers"
    done
    store_figure 'resident after 100,000 keys, MB' memory
    store_figure 'resident after a restart, MB' again
    store_figure 'start to the first get, ms' start
    printf 'part of a put at 1 connection that is the disk, by p50: store %s, etcd %s\n' \
        "$(store_ratio "$(store_median 2 ours-sync)" "$(store_median 2 ours-put-1)")" \
        "$(store_ratio "$(store_median 2 etcd-sync)" "$(store_median 2 etcd-put-1)")"
}

# A disk, not memory: on some systems /tmp is none.
store_directory() {
    local parent=${CARGO_TARGET_DIR:-$root/target}
    [[ $(stat --file-system --format %T "$parent") != tmpfs ]] || die "$parent is no disk: nothing could be said of it"
    mktemp -d "$parent/bench-store.XXXXXX"
}

store_build() {
    (cd "$root" && cargo build --release --quiet --package patroni-broker-storage --example store_load)
    store_load=${CARGO_TARGET_DIR:-$root/target}/release/examples/store_load
}

# store_pair PAIR: one run of everything, each on a store of its own.
store_pair() {
    local kind connections watchers side
    rm -rf "$store_work/data-ours" "$store_work/data-etcd"
    store_ours_at=127.0.0.1:$(free_port 4001 4499) || die "no port from 4001 to 4499 is free"
    store_etcd_at=127.0.0.1:$(free_port 4500 4998) || die "no port from 4500 to 4998 is free"
    for side in $(store_order "$1"); do
        store_disk "$side"
    done
    for side in ours etcd; do
        "store_start_$side"
        "$store_load" wait "$(store_at "$side")" /version >/dev/null
        "$store_load" load "$(store_at "$side")" "$STORE_KEYS" >>"$store_work/$side-load.figures"
        store_resident "$side" >>"$store_work/$side-memory.figures"
        store_end "$side"
        "store_start_$side"
        "$store_load" wait "$(store_at "$side")" /v2/keys/bench/0/0 >>"$store_work/$side-start.figures"
        store_resident "$side" >>"$store_work/$side-again.figures"
    done
    for kind in put get swap; do
        for connections in 1 32; do
            for side in $(store_order "$1"); do
                store_wrk "$side" "$kind" "$connections"
            done
        done
    done
    for watchers in 1 1000; do
        for side in $(store_order "$1"); do
            "$store_load" watch "$(store_at "$side")" "$watchers" "$STORE_ROUNDS" >>"$store_work/$side-watch-$watchers.figures"
        done
    done
    store_end ours
    store_end etcd
}

# store_disk SIDE: what the disk alone takes for what a put of that side writes and syncs once, as strace shows it with
# 100,000 keys: pages all over a file that is filled, or a record at the end of what is written of a log that has its room.
store_disk() {
    local file=$store_work/sync
    rm -f "$file"
    if [[ $1 == ours ]]; then
        head --bytes 32M /dev/zero >"$file"
        sync "$file"
        "$store_load" sync "$file" 2 10 4096 >>"$store_work/ours-sync.figures"
    else
        fallocate --length 64M "$file"
        sync "$file"
        "$store_load" sync "$file" 2 1 232 >>"$store_work/etcd-sync.figures"
    fi
    rm -f "$file"
}

# store_order PAIR: who goes first changes.
store_order() { if (($1 % 2)); then echo ours etcd; else echo etcd ours; fi; }

store_start_ours() {
    RUST_LOG=warn "$binary" kv serve --listen "$store_ours_at" --path "$store_work/data-ours" --no-auth \
        >>"$store_work/ours.log" 2>&1 </dev/null &
    store_ours=$!
}

store_start_etcd() {
    local peer
    peer=http://127.0.0.1:$(free_port 5000 5999) || die "no port from 5000 to 5999 is free"
    etcd --name bench --data-dir "$store_work/data-etcd" --enable-v2 --logger zap --log-level error \
        --listen-client-urls "http://$store_etcd_at" --advertise-client-urls "http://$store_etcd_at" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "bench=$peer" \
        >>"$store_work/etcd.log" 2>&1 </dev/null &
    store_etcd=$!
}

store_at() { if [[ $1 == ours ]]; then echo "$store_ours_at"; else echo "$store_etcd_at"; fi; }

store_pid() { if [[ $1 == ours ]]; then echo "$store_ours"; else echo "$store_etcd"; fi; }

store_resident() { awk '/VmRSS/ { printf "%.1f\n", $2 / 1024 }' "/proc/$(store_pid "$1")/status"; }

# store_end SIDE
store_end() {
    local pid
    pid=$(store_pid "$1")
    [[ -n $pid ]] || return 0
    kill -TERM "$pid" 2>/dev/null || true
    wait_until 20 _gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
    if [[ $1 == ours ]]; then store_ours=''; else store_etcd=''; fi
}

# store_wrk SIDE KIND CONNECTIONS
store_wrk() {
    wrk --threads "$(($3 < 2 ? 1 : 2))" --connections "$3" --duration 3s --timeout 10s --latency \
        --script "$root/scripts/bench.d/store.lua" "http://$(store_at "$1")" -- "$2" |
        awk '/^figures/ { print $2, $3, $4, $5, $6 }' >>"$store_work/$1-$2-$3.figures"
}

# store_median COLUMN NAME
store_median() { awk -v column="$1" '{ print $column }' "$store_work/$2.figures" | median; }

store_ratio() { awk -v ours="$1" -v theirs="$2" 'BEGIN { printf "%.2f", theirs ? ours / theirs : 0 }'; }

store_head() {
    printf '%-22s %5s  %9s %8s %8s  %9s %8s %8s  %6s\n' what conns store/s p50 p99 etcd/s p50 p99 ratio
}

# store_row WHAT CONNECTIONS OURS THEIRS
store_row() {
    local ours theirs failures
    ours=$(store_median 1 "$3")
    theirs=$(store_median 1 "$4")
    failures=$(awk '{ bad += $4 + $5 } END { print bad + 0 }' "$store_work/$3.figures" "$store_work/$4.figures")
    printf '%-22s %5s  %9.0f %8s %8s  %9.0f %8s %8s  %6s%s\n' "$1" "$2" \
        "$ours" "$(store_median 2 "$3")" "$(store_median 3 "$3")" \
        "$theirs" "$(store_median 2 "$4")" "$(store_median 3 "$4")" "$(store_ratio "$ours" "$theirs")" \
        "$([[ $failures == 0 ]] || printf '  (%s failures)' "$failures")"
}

# store_figure WHAT NAME
store_figure() {
    local ours theirs
    ours=$(store_median 1 "ours-$2")
    theirs=$(store_median 1 "etcd-$2")
    printf '%-34s %10s %10s  %6s\n' "$1" "$ours" "$theirs" "$(store_ratio "$ours" "$theirs")"
}

store_stop() {
    [[ -n $store_work ]] || return 0
    store_end ours
    store_end etcd
    rm -rf "$store_work"
    store_work=''
}
