# shellcheck shell=bash
# What scripts ask a Cloud Foundry, by the cf command and jq. Answers are read from its API, not from tables for people.
# Needs: say.sh

# Dies unless NAME can stand in a URL and is no option.
cf_name() {
    [[ $1 =~ ^[A-Za-z0-9_][A-Za-z0-9._-]*$ ]] || die "a broker's name is of A-Z, a-z, 0-9, '.', '_', '-': $1"
}

# Dies unless there is a cf, and it is logged in.
cf_ready() {
    local tool
    for tool in cf jq; do
        command -v "$tool" >/dev/null || die "$tool is not installed"
    done
    cf target >/dev/null || die "log in first: cf login"
}

# Version 8 takes CF_BROKER_PASSWORD; older ones take the URL for a password.
cf_takes_password_from_environment() {
    local version
    version=$(cf version | sed -n 's/^cf[0-9]* version \([0-9][0-9]*\)\..*/\1/p')
    ((${version:-0} >= 8))
}

# _cf_ask PATH FILTER: what the API answers. A refusal is an answer of its own, and no empty list.
_cf_ask() {
    local answer
    answer=$(cf curl "$1") || die "cf curl $1 failed"
    jq -e '.resources | type == "array"' >/dev/null 2>&1 <<<"$answer" ||
        die "Cloud Foundry does not answer $1: $(jq -r '[.errors[]?.detail] | join("; ")' 2>/dev/null <<<"$answer")"
    jq -r "$2" <<<"$answer"
}

cf_has_broker() {
    local found
    found=$(_cf_ask "/v3/service_brokers?names=$1" '.resources | length') || exit 1
    ((found > 0))
}

cf_is_space_scoped() {
    local space
    space=$(_cf_ask "/v3/service_brokers?names=$1" '.resources[0].relationships.space.data.guid // empty') || exit 1
    [[ -n $space ]]
}

# The names of a broker's services, each a line.
cf_offerings() {
    _cf_ask "/v3/service_offerings?service_broker_names=$1&per_page=5000" '.resources[].name'
}
