# shellcheck shell=bash
# Another Debian release from the mirrors that this machine's apt uses, whatever they are called.
# Needs: say.sh

# The mirrors of this machine's own Debian release: one line each, "uri suite", the suite like "bookworm-security".
machine_mirrors() {
    local codename
    codename=$(. /etc/os-release && [[ $ID == debian ]] && echo "$VERSION_CODENAME") ||
        die "this is no Debian machine whose mirror could be used"
    # shellcheck disable=SC2016 # apt fills in the $(…)
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
        awk -v release="$codename" '$3 == "main" && ($2 == release || index($2, release "-") == 1) { print $1, $2 }' |
        sort -u
}

# mirror_lines SUITE: lines of a sources.list for another release, on the mirrors that this machine uses. A part such
# as -security that a mirror does not have for that release is left out.
mirror_lines() {
    local suite=$1 codename uri release wanted scratch found=no
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    scratch=$(mktemp -d)
    while read -r uri release; do
        wanted=$suite${release#"$codename"}
        if /usr/lib/apt/apt-helper download-file "${uri}dists/$wanted/InRelease" "$scratch/InRelease" >/dev/null 2>&1; then
            printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$uri" "$wanted"
            found=yes
        fi
        rm -f "$scratch/InRelease"
    done < <(machine_mirrors)
    rmdir "$scratch"
    [[ $found == yes ]] || die "the Debian mirror of this machine does not have $suite"
}

# This machine's own way to its mirror (proxies, certificates, a mirror frozen in time), as options for another apt.
machine_apt_options() {
    apt-config dump | grep -E '^Acquire::(https?::|ftp::|Check-Valid-Until|Check-Date|Retries)' || true
}
