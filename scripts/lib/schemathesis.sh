# shellcheck shell=bash
# schemathesis from PyPI for the tests to run, in a virtual environment of its own: <state>/schemathesis/<version>,
# where the version is the hash of what is to be installed. Where packages come from is the machine's own pip's business.
# Needs: say.sh, packages.sh

# ensure_schemathesis STATE_DIR ROOT: sets PATRONI_BROKER_TEST_SCHEMATHESIS unless it is set. Fails, having said why, if
# it cannot be installed.
ensure_schemathesis() {
    local state=$1 wanted=$2/tests/schemathesis/requirements.txt version directory log
    [[ -z ${PATRONI_BROKER_TEST_SCHEMATHESIS:-} ]] || return 0
    version=$(sha256sum "$wanted" | cut -c 1-16)
    directory=$state/schemathesis/$version
    if [[ ! -f $directory/complete ]]; then
        # Debian's python3 makes no environments without it; others do.
        python3 -c 'import ensurepip' 2>/dev/null || require_packages python3-venv
        say "installing schemathesis"
        rm -rf "$directory"
        mkdir -p "$state/schemathesis"
        log=$(mktemp)
        if ! { python3 -m venv "$directory" && "$directory/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"; } >"$log" 2>&1; then
            tail -n 20 "$log" >&2
            rm -rf "$log" "$directory"
            say "cannot install schemathesis"
            return 1
        fi
        rm -f "$log"
        touch "$directory/complete"
    fi
    export PATRONI_BROKER_TEST_SCHEMATHESIS=$directory/bin/schemathesis
}
