# shellcheck shell=bash
# Debian packages: says what is missing and installs it.
# Needs: say.sh

# Succeeds if the package is installed and configured.
package_installed() {
    local status
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) && [[ $status == installed ]]
}

# apt_get ARGUMENT…: apt-get without questions. Its output is shown only if it fails.
apt_get() {
    local log
    log=$(mktemp)
    # Another apt-get on this machine may hold the lock for a while.
    if ! DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# require_packages PACKAGE…: installs those that are missing. A failure ends the script.
require_packages() {
    local missing=() package
    for package in "$@"; do
        package_installed "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "missing packages: ${missing[*]}. This is no Debian machine: install them by hand"
    ((EUID == 0)) || die "missing packages: ${missing[*]}. Run as root, or: sudo apt-get install ${missing[*]}"
    say "installing what is missing: ${missing[*]}"
    apt_get update || die "apt-get update failed"
    apt_get install --no-install-recommends "${missing[@]}" || die "cannot install: ${missing[*]}"
}
