# shellcheck shell=bash
# A Consul for tests to start: the one on the PATH, or that of Debian bullseye, the last release that packages it. It
# is unpacked, not installed: <state>/consul/<version>/usr/bin/consul
# Needs: say.sh, packages.sh, mirrors.sh

# ensure_consul STATE_DIR: sets PATRONI_BROKER_TEST_CONSUL where the tests would not find a Consul by themselves.
# Fails, having said why, if there is none to be had: no release has it any more, so this is no reason to test nothing.
ensure_consul() {
    local state=$1 binary scratch
    [[ -z ${PATRONI_BROKER_TEST_CONSUL:-} ]] || return 0
    command -v consul >/dev/null && return 0
    binary=$(_consul_binary "$state")
    if [[ -z $binary ]]; then
        require_packages debian-archive-keyring
        say "fetching Consul of Debian bullseye from this machine's mirror"
        scratch=$(mktemp -d)
        chmod 0755 "$scratch"
        if ! _fetch_consul "$state" "$scratch" >"$scratch/log" 2>&1; then
            tail -n 20 "$scratch/log" >&2
            rm -rf "$scratch"
            say "cannot fetch Consul"
            return 1
        fi
        rm -rf "$scratch"
        binary=$(_consul_binary "$state")
    fi
    export PATRONI_BROKER_TEST_CONSUL=$binary
}

# The newest one that has been unpacked, or nothing.
_consul_binary() {
    [[ -d $1/consul ]] || return 0
    find "$1/consul" -mindepth 4 -maxdepth 4 -path '*/usr/bin/consul' | sort --version-sort | tail -n 1
}

# _fetch_consul STATE_DIR SCRATCH: with an apt state of its own, so that nothing of the machine's apt changes. Its
# configuration, which knows the way to the mirror, is used as it is, and signatures are verified.
_fetch_consul() {
    local state=$1 scratch=$2 package version options
    # In a subshell: without a mirror it ends the script.
    (mirror_lines bullseye) >"$scratch/sources.list" || return 1
    mkdir -p "$scratch/state/lists/partial" "$scratch/cache/archives/partial" || return 1
    # A release that has ended is not signed anew, and parts of it say until when they are valid.
    options=(
        -o "Dir::Etc::SourceList=$scratch/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null -o APT::Default-Release=
        -o "Dir::State::Lists=$scratch/state/lists" -o "Dir::Cache=$scratch/cache"
        -o Acquire::Check-Valid-Until=false -o APT::Update::Error-Mode=any
    )
    apt-get --quiet "${options[@]}" update || return 1
    (cd "$scratch" && apt-get --quiet "${options[@]}" download consul) || return 1
    package=$(find "$scratch" -maxdepth 1 -name 'consul_*.deb')
    version=$(dpkg-deb --field "$package" Version) || return 1
    dpkg-deb --extract "$package" "$scratch/unpacked" || return 1
    # Renamed into place, so that what is there is complete; another script may have been faster.
    mkdir -p "$state/consul" || return 1
    rm -rf "$state/consul/.new.$$"
    mv "$scratch/unpacked" "$state/consul/.new.$$" || return 1
    mv -T "$state/consul/.new.$$" "$state/consul/$version" 2>/dev/null || rm -rf "$state/consul/.new.$$"
}
