#!/usr/bin/env bash
# Takes a broker's services out of the marketplace of the Cloud Foundry that cf is logged in to, and removes the broker.
# May be run again: what is gone already is no failure.
#
#   scripts/hide-broker.sh NAME [--purge]
#
# With instances left, Cloud Foundry keeps the broker. --purge makes it forget them first, without asking the broker:
# what they are made of stays wherever the broker has it. It is for a broker that has lost what it knew.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for part in say cloudfoundry; do
    # shellcheck disable=SC1090
    . "$root/scripts/lib/$part.sh"
done

main() {
    local name=${1:-} purge=no service
    case $#:${2:-} in
        1:) ;;
        2:--purge) purge=yes ;;
        *)
            say "usage: scripts/hide-broker.sh NAME [--purge]"
            exit 2
            ;;
    esac
    cf_name "$name"
    cf_ready
    if ! cf_has_broker "$name"; then
        say "there is no broker $name"
        return
    fi
    if ! cf_is_space_scoped "$name"; then
        cf_offerings "$name" | while read -r service; do
            cf disable-service-access "$service" -b "$name" </dev/null
        done
    fi
    if [[ $purge == yes ]]; then
        cf_offerings "$name" | while read -r service; do
            cf purge-service-offering "$service" -b "$name" -f </dev/null
        done
    fi
    cf delete-service-broker "$name" -f ||
        die "the broker $name stays: delete the instances of its services, or make Cloud Foundry forget them with --purge"
}

main "$@"
