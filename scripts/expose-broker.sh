#!/usr/bin/env bash
# Registers a broker with the Cloud Foundry that cf is logged in to, and puts its services into the marketplace. May be
# run again: a broker of that name is given the URL, user and password, and its catalog is read anew.
#
#   scripts/expose-broker.sh NAME URL USER [--space-scoped] [--password-argument]
#
# The password is CF_BROKER_PASSWORD's; without it, it is asked for. From version 8 on, cf takes it from there. Older ones
# take it only as an argument, which every user of this machine can see while it runs: --password-argument allows that.
# With --space-scoped, which needs no administrator, the services are those of the targeted space alone.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for part in say cloudfoundry; do
    # shellcheck disable=SC1090
    . "$root/scripts/lib/$part.sh"
done

usage() {
    say "usage: scripts/expose-broker.sh NAME URL USER [--space-scoped] [--password-argument]"
    exit 2
}

main() {
    [[ $# -ge 3 ]] || usage
    local name=$1 url=$2 user=$3 scoped=no as_argument=no credentials service
    shift 3
    while [[ $# -gt 0 ]]; do
        case $1 in
            --space-scoped) scoped=yes ;;
            --password-argument) as_argument=yes ;;
            *) usage ;;
        esac
        shift
    done
    cf_name "$name"
    cf_ready
    if [[ -z ${CF_BROKER_PASSWORD:-} ]]; then
        [[ -t 0 ]] || die "set CF_BROKER_PASSWORD: there is no terminal to ask for the password"
        read -r -s -p "Password of $user: " CF_BROKER_PASSWORD
        say
    fi
    export CF_BROKER_PASSWORD
    credentials=("$user")
    if ! cf_takes_password_from_environment; then
        [[ $as_argument == yes ]] ||
            die "this cf takes a password only as an argument, which others on this machine can see: use cf 8, or allow it with --password-argument"
        credentials=("$user" "$CF_BROKER_PASSWORD")
    fi
    if cf_has_broker "$name"; then
        say "the broker $name is registered: updating it"
        cf update-service-broker "$name" "${credentials[@]}" "$url"
        # How it was registered is how it stays.
        if cf_is_space_scoped "$name"; then scoped=yes; else scoped=no; fi
    elif [[ $scoped == yes ]]; then
        cf create-service-broker "$name" "${credentials[@]}" "$url" --space-scoped
    else
        cf create-service-broker "$name" "${credentials[@]}" "$url"
    fi
    if [[ $scoped == yes ]]; then
        say "its services are in the marketplace of its space"
        return
    fi
    cf_offerings "$name" | while read -r service; do
        cf enable-service-access "$service" -b "$name" </dev/null
    done
}

main "$@"
