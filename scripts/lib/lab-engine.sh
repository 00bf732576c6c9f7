# shellcheck shell=bash
# The Docker engines of a lab's cells, and their images, which are put together once for all of them.
# Needs: say.sh, wait.sh, docker.sh, lab-plan.sh, lab-configuration.sh, lab-machine.sh; $root, $state, $lab, $lab_cgroup
#
# Sets: $lab_engine_was_there to no if it had to start an engine on this machine, for who ends the script to stop it
# shellcheck disable=SC2034,SC2154 # the scripts that source this set these

# Nothing of the network between the cells is smaller than this.
readonly LAB_MTU=1500

# cell_docker NAME ARGUMENT…: the docker command on that cell's engine, as its owner reaches it.
cell_docker() {
    local tls=$lab/certificates/client address
    address=$(lab_address "$1")
    shift
    env -u DOCKER_CONTEXT docker --host "tcp://$address:$LAB_ENGINE_PORT" --tlsverify --tlscacert "$tls/ca.pem" \
        --tlscert "$tls/cert.pem" --tlskey "$tls/key.pem" "$@"
}

# engine_start NAME: on a machine that runs, with the data that its directory has.
engine_start() {
    local name=$1 directory
    directory=$(machine_directory "$name")
    mkdir -p "$directory/etc-docker/tls" "$directory/docker"
    cp "$lab/certificates/$name/"*.pem "$directory/etc-docker/tls/"
    # Without an init system there are no slices to put containers into.
    lab_engine_configuration "$name" "$LAB_MTU" "\"data-root\": \"$directory/docker\"" \
        "\"cgroup-parent\": \"/$lab_cgroup/$name\"" '"exec-opts": ["native.cgroupdriver=cgroupfs"]' \
        >"$directory/etc-docker/daemon.json"
    machine_detach "$name" "$directory/engine.log" dockerd
}

# engine_await NAME
engine_await() {
    wait_until 90 engine_answers "$1" && return 0
    tail -n 20 "$(machine_directory "$1")/engine.log" >&2
    die "the engine of $1 does not answer"
}

engine_answers() {
    local address tls=$lab/certificates/client
    address=$(lab_address "$1")
    curl -sf --noproxy '*' --max-time 5 --cacert "$tls/ca.pem" --cert "$tls/cert.pem" --key "$tls/key.pem" \
        "https://$address:$LAB_ENGINE_PORT/_ping"
}

# engine_signal NAME SIGNAL: to the engine, and to what it runs containers with; the containers do not notice.
engine_signal() {
    # shellcheck disable=SC2016 # expanded inside of the machine
    machine_run "$1" bash -c '
        for process in /proc/[0-9]*; do
            read -r name 2>/dev/null <"$process/comm" || continue
            case $name in
                dockerd | containerd) kill -s "$0" "${process#/proc/}" ;;
            esac
        done' "$2"
}

# images_prepare: sets $lab_images to a directory with an engine's data that has all images, for cells to begin with. It
# is kept from one lab to the next, until what goes into an image, or the engine, is another.
images_prepare() {
    local wanted tags=() key line directory
    wanted=$("$root/scripts/build-images" --list)
    key=$({ printf '%s\n' "$wanted" && dockerd --version; } | sha256sum | cut -c 1-16)
    lab_images=$state/lab-images/$key
    [[ ! -d $lab_images ]] || return 0
    while read -r line; do
        tags+=("${line% *}")
    done <<<"$wanted"
    docker_answers || lab_engine_was_there=no
    # An engine that this starts would hold the locks of whoever started it.
    ensure_docker "$state" 8>&- 9>&-
    "$root/scripts/build-images" --all
    say "putting the cells' images together, once for all labs"
    machine_start images
    network_of images
    engine_start images
    engine_await images
    docker save "${tags[@]}" | cell_docker images load >/dev/null
    directory=$(machine_directory images)
    # In good order, so that its data are complete.
    engine_signal images TERM
    wait_until 60 _engine_gone images || die "the engine that holds the images does not stop"
    machine_kill images
    # Each engine makes an id of its own.
    rm -f "$directory/docker/engine-id"
    images_drop_unused
    mkdir -p "$state/lab-images"
    mv "$directory/docker" "$lab_images"
    rm -rf "$directory"
}

# images_drop_unused: those of other keys, but for what the cells of another lab have of them.
images_drop_unused() {
    local old
    for old in "$state/lab-images"/*; do
        if [[ -d $old ]] && ! grep -qsF "$old/" "$state"/labs/*/machines/*/lent; then
            rm -rf "$old"
        fi
    done
}

_engine_gone() {
    # shellcheck disable=SC2016 # expanded inside of the machine
    ! machine_run "$1" bash -c 'cat /proc/[0-9]*/comm 2>/dev/null | grep -qx dockerd'
}

# images_lend NAME: what a cell's engine begins with. What is in the layers of images never changes, so all cells have the
# same, which lab-init.sh puts into its place, not to be written to.
images_lend() {
    local directory to layer
    directory=$(machine_directory "$1")
    to=$directory/docker
    mkdir -p "$to/overlay2"
    # The engine would make these mounts of their own, and hide what is below, if they were none yet.
    printf 'rw %s %s\n' "$to" "$to" "$to/overlay2" "$to/overlay2" >"$directory/lent"
    find "$lab_images" -mindepth 1 -maxdepth 1 ! -name overlay2 -exec cp -a --reflink=auto --target-directory="$to" {} +
    for layer in "$lab_images/overlay2"/*; do
        if [[ -d $layer/diff ]]; then
            mkdir "$to/overlay2/${layer##*/}"
            find "$layer" -mindepth 1 -maxdepth 1 ! -name diff -exec cp -a --target-directory="$to/overlay2/${layer##*/}" {} +
            mkdir "$to/overlay2/${layer##*/}/diff"
            printf 'ro %s %s\n' "$layer/diff" "$to/overlay2/${layer##*/}/diff" >>"$directory/lent"
        else
            cp -a "$layer" "$to/overlay2/"
        fi
    done
}
