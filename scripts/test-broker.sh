#!/usr/bin/env bash
# Verifies a running Open Service Broker, whichever it is, with curl and jq alone: does what a platform does, in a
# platform's order, says each check and its outcome, and leaves nothing behind.
#
#   scripts/test-broker.sh URL USER PASSWORD [SERVICE]
#
# SERVICE is a service's name; without it, the first of the catalog. A PASSWORD of - is that of BROKER_PASSWORD, which
# shows in no list of processes. PLAN names the plan to order, without it the first. POLL_SECONDS bounds the wait for one
# operation, 900 without it. Exits with 0 when every check that the broker offers passed, 1 when one failed, 2 for wrong
# usage.
set -euo pipefail

readonly VERSION=2.17
poll_seconds=${POLL_SECONDS:-900}
url='' work=''
# Each request is told from every other one by this run and its number.
run='' requests=0
passed=0 failed=0 skipped=0
# The answer to the last request: its status; its body and head are in $work.
status=''
# What is there and has to go.
instance='' service_id='' plan_id='' bindings=()

usage() {
    printf 'usage: scripts/test-broker.sh URL USER PASSWORD [SERVICE]\n' >&2
    exit 2
}

report() { printf '%-5s %-12s %s\n' "$1" "$2" "$3"; }

pass() {
    passed=$((passed + 1))
    report ok "$1" "$2"
}

fail() {
    failed=$((failed + 1))
    report FAIL "$1" "$2"
}

skip() {
    skipped=$((skipped + 1))
    report skip "$1" "$2"
}

uuid() {
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n' |
        sed -E 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/\1-\2-4\3-a\4-\5/'
}

# request METHOD PATH [BODY]: sets $status; 000 where nobody answered.
request() {
    local method=$1 path=$2 arguments=() identity
    requests=$((requests + 1))
    printf -v identity '%s%012x' "${run:0:24}" "$requests"
    [[ $# -lt 3 ]] || arguments=(--header 'Content-Type: application/json' --data-binary "$3")
    status=$(curl --silent --show-error --config "$work/curl" --max-time 660 --request "$method" \
        --header "X-Broker-API-Version: $VERSION" --header "X-Broker-API-Request-Identity: $identity" \
        --dump-header "$work/head" --output "$work/body" --write-out '%{http_code}' \
        "${arguments[@]+"${arguments[@]}"}" "$url$path" 2>"$work/error") || status=000
}

# What the answer says of itself. Never the whole: it may hold credentials.
said() {
    if [[ $status == 000 ]]; then
        head -n 1 "$work/error"
    else
        jq -r '[.error, .description] | map(strings) | join(": ")' "$work/body" 2>/dev/null || printf 'no JSON'
    fi
}

body_is() { jq -e "$@" "$work/body" >/dev/null 2>&1; }

# expect CHECK STATUSES [WORDS]: whether the status is one of a list such as "200 201".
expect() {
    local check=$1 statuses=$2 words=${3:-}
    if [[ " $statuses " == *" $status "* ]]; then
        pass "$check" "$status${words:+: $words}"
    else
        fail "$check" "${words:+$words: }expected ${statuses// / or }, got $status ($(said))"
        return 1
    fi
}

# query [OPERATION]: what deletions and polls name.
query() {
    printf 'service_id=%s&plan_id=%s' "$service_id" "$plan_id"
    [[ -z ${1:-} ]] || printf '&operation=%s' "$(jq -rn --arg raw "$1" '$raw | @uri')"
}

# settle CHECK PATH STATUSES [WORDS]: judges the answer to a change; where it says that it goes on, polls PATH until it
# ends. GONE=yes where its end may be that nothing is there any more.
settle() {
    local check=$1 path=$2 statuses=$3 words=${4:-} operation state deadline polls=0 pause
    if [[ $status != 202 ]]; then
        expect "$check" "$statuses" "$words" && return 0
        return 1
    fi
    operation=$(jq -r '.operation // empty' "$work/body" 2>/dev/null || true)
    deadline=$((SECONDS + poll_seconds))
    while :; do
        request GET "$path/last_operation?$(query "$operation")"
        polls=$((polls + 1))
        if [[ $status == 410 && ${GONE:-no} == yes ]]; then
            state=succeeded
        elif [[ $status == 200 ]]; then
            state=$(jq -r '.state // "none"' "$work/body" 2>/dev/null || printf 'none')
        else
            fail "$check" "${words:+$words: }expected 200 of last_operation, got $status ($(said))"
            return 1
        fi
        case $state in
            succeeded)
                pass "$check" "202, then succeeded at look $polls${words:+: $words}"
                # Spelled out: in a trap, a bare return is what came before the trap.
                return 0
                ;;
            failed)
                fail "$check" "${words:+$words: }202, then failed ($(said))"
                return 1
                ;;
            'in progress') ;;
            *)
                fail "$check" "${words:+$words: }last_operation says the state \"$state\""
                return 1
                ;;
        esac
        if ((SECONDS >= deadline)); then
            fail "$check" "${words:+$words: }still in progress after $poll_seconds s ($(said))"
            return 1
        fi
        pause=$(sed -n 's/\r$//; s/^[Rr]etry-[Aa]fter: *\([0-9][0-9]*\)$/\1/p' "$work/head" | head -n 1)
        sleep "$((${pause:-1} > 30 ? 30 : ${pause:-1}))"
    done
}

# Takes away whatever a check that failed has left.
cleanup() {
    local code=$? id
    trap - EXIT INT TERM
    if [[ -n $instance ]]; then
        for id in "${bindings[@]+"${bindings[@]}"}"; do
            request DELETE "$(binding_path "$id")?accepts_incomplete=true&$(query)"
            [[ $status != 202 ]] || GONE=yes settle cleanup "$(binding_path "$id")" '200 410' >/dev/null || true
        done
        request DELETE "$(instance_path)?accepts_incomplete=true&$(query)"
        if ! GONE=yes settle cleanup "$(instance_path)" '200 410' >/dev/null; then
            report FAIL cleanup "the instance $instance may be left behind"
            [[ $code != 0 ]] || code=1
        fi
    fi
    [[ -z $work ]] || rm -rf "$work"
    exit "$code"
}

instance_path() { printf '/v2/service_instances/%s' "$instance"; }
binding_path() { printf '/v2/service_instances/%s/service_bindings/%s' "$instance" "$1"; }

# context NAME: who orders, and what the instance is called there.
context() {
    jq -cn --arg name "$1" '{platform: "cloudfoundry", organization_guid: "test-broker-org", organization_name: "test",
        space_guid: "test-broker-space", space_name: "test", instance_name: $name}'
}

# of_service FILTER, of_plan FILTER: what the catalog says of the service and of the ordered plan.
of_service() { jq -r --arg id "$service_id" ".services[] | select(.id == \$id) | $1" "$work/catalog"; }
of_plan() { of_service ".plans[] | select(.id == \"$plan_id\") | $1"; }

check_catalog() {
    local wanted=$1
    cp "$work/curl" "$work/curl.right"
    printf 'user = "nobody-at-all:no-password"\n' >"$work/curl"
    request GET /v2/catalog
    cp "$work/curl.right" "$work/curl"
    expect catalog 401 'a wrong user is refused' || true
    request GET /v2/catalog
    expect catalog 200 || return 1
    if ! body_is '.services | type == "array" and length > 0 and all(.[];
        all(.id, .name, .description; type == "string" and . != "") and (.bindable | type == "boolean")
        and (.plans | type == "array" and length > 0)
        and all(.plans[]; all(.id, .name, .description; type == "string" and . != "")))'; then
        fail catalog 'a service or plan lacks what the specification requires'
        return 1
    fi
    pass catalog "services: $(jq -r '[.services[] | "\(.name) (\([.plans[].name] | join(", ")))"] | join(", ")' "$work/body")"
    if ! body_is '[.services[].id, .services[].plans[].id] | length == (unique | length)'; then
        fail catalog 'an id is there twice'
    fi
    cp "$work/body" "$work/catalog"
    service_id=$(jq -r --arg name "$wanted" '[.services[] | select($name == "" or .name == $name)][0].id // empty' "$work/catalog")
    if [[ -z $service_id ]]; then
        fail catalog "there is no service called $wanted"
        return 1
    fi
    plan_id=$(of_service "[.plans[] | select(\"${PLAN:-}\" == \"\" or .name == \"${PLAN:-}\")][0].id // empty")
    if [[ -z $plan_id ]]; then
        fail catalog "there is no plan called $PLAN"
        return 1
    fi
}

check_create() {
    local body other
    instance=$(uuid)
    body=$(jq -cn --arg service "$service_id" --arg plan "$plan_id" --argjson context "$(context test-broker)" \
        --argjson maintenance "$(of_plan '.maintenance_info // null | if . then {version} else . end' | jq -c .)" '
        {service_id: $service, plan_id: $plan, organization_guid: $context.organization_guid,
         space_guid: $context.space_guid, context: $context}
        + if $maintenance then {maintenance_info: $maintenance} else {} end')
    request PUT "$(instance_path)?accepts_incomplete=true" "$body"
    settle create "$(instance_path)" '200 201' "$(of_service .name), plan $(of_plan .name)" || return 1
    request PUT "$(instance_path)?accepts_incomplete=true" "$body"
    expect create 200 'once more, the same' || true
    other=$(of_service "[.plans[] | select(.id != \"$plan_id\")][0].id // empty")
    if [[ -n $other ]]; then
        request PUT "$(instance_path)?accepts_incomplete=true" "$(jq -c --arg plan "$other" '.plan_id = $plan | del(.maintenance_info)' <<<"$body")"
        expect create 409 'once more, another plan' || true
    fi
}

check_show() {
    if [[ $(of_service '.instances_retrievable // false') != true ]]; then
        skip show 'instances cannot be fetched'
        return
    fi
    request GET "$(instance_path)?$(query)"
    expect show 200 || return 0
    # shellcheck disable=SC2016 # jq's own variables
    if ! body_is --arg service "$service_id" --arg plan "$plan_id" '.service_id == $service and .plan_id == $plan'; then
        fail show 'it is of another service or plan'
    fi
}

# change CHECK WORDS FIELDS: a PATCH with these fields beside those that each has.
change() {
    request PATCH "$(instance_path)?accepts_incomplete=true" \
        "$(jq -cn --arg service "$service_id" --arg plan "$plan_id" --argjson context "$(context test-broker)" --argjson fields "$3" '
            {service_id: $service, context: $context,
             previous_values: {plan_id: $plan, service_id: $service}} + $fields')"
    settle "$1" "$(instance_path)" 200 "$2"
}

check_update() {
    local other first
    other=$(of_service "[.plans[] | select(.id != \"$plan_id\")][0].id // empty")
    if [[ -z $other ]]; then
        skip update 'there is no other plan'
    elif [[ $(of_plan ".plan_updateable // $(of_service '.plan_updateable // false')") != true ]]; then
        skip update 'the plan of an instance cannot be changed'
    else
        first=$plan_id
        if change update "to the plan $(of_service ".plans[] | select(.id == \"$other\").name")" "$(jq -cn --arg plan "$other" '{plan_id: $plan}')"; then
            plan_id=$other
            check_show
            if change update 'and back' "$(jq -cn --arg plan "$first" '{plan_id: $plan}')"; then
                plan_id=$first
            fi
        fi
    fi
}

check_rename() {
    if [[ $(of_service '.allow_context_updates // false') != true ]]; then
        skip rename 'changes of the context are not offered'
        return
    fi
    change rename 'to test-broker-renamed' "$(jq -cn --argjson context "$(context test-broker-renamed)" '{context: $context}')" || true
}

check_upgrade() {
    local version
    version=$(of_plan '.maintenance_info.version // empty')
    if [[ -z $version ]]; then
        skip upgrade 'the plan has no maintenance_info'
        return
    fi
    change upgrade "to $version" "$(jq -cn --arg plan "$plan_id" --arg version "$version" '{plan_id: $plan, maintenance_info: {version: $version}}')" || true
    request PATCH "$(instance_path)?accepts_incomplete=true" \
        "$(jq -cn --arg service "$service_id" --arg plan "$plan_id" '{service_id: $service, plan_id: $plan, maintenance_info: {version: "0.0.0-no-such"}}')"
    expect upgrade 422 'to a version that is not the catalog'"'"'s' || true
}

# check_binding CHECK FIELDS: makes a binding twice, shows it, and gives it back twice.
check_binding() {
    local check=$1 id body undo=unbind
    [[ $check == bind ]] || undo=$check
    id=$(uuid)
    bindings+=("$id")
    body=$(jq -cn --arg service "$service_id" --arg plan "$plan_id" --argjson context "$(context test-broker)" --argjson fields "$2" \
        '{service_id: $service, plan_id: $plan, context: $context} + $fields')
    request PUT "$(binding_path "$id")?accepts_incomplete=true" "$body"
    settle "$check" "$(binding_path "$id")" '200 201' created || return 0
    request PUT "$(binding_path "$id")?accepts_incomplete=true" "$body"
    expect "$check" 200 'once more, the same' || true
    if [[ $(of_service '.bindings_retrievable // false') == true ]]; then
        request GET "$(binding_path "$id")?$(query)"
        expect "$check" 200 shown || true
    fi
    if ! body_is 'type == "object"'; then
        fail "$check" 'it is not shown as a JSON object'
    fi
    request DELETE "$(binding_path "$id")?accepts_incomplete=true&$(query)"
    GONE=yes settle "$undo" "$(binding_path "$id")" 200 removed || return 0
    request DELETE "$(binding_path "$id")?accepts_incomplete=true&$(query)"
    expect "$undo" 410 'once more' || true
    # It is the last one that was made.
    unset "bindings[$((${#bindings[@]} - 1))]"
}

check_bindings() {
    if [[ $(of_plan "if .bindable == null then $(of_service .bindable) else .bindable end") != true ]]; then
        skip service-key 'nothing can be bound'
        skip bind 'nothing can be bound'
        skip unbind 'nothing can be bound'
        return
    fi
    check_binding service-key '{}'
    check_binding bind '{"app_guid": "test-broker-app", "bind_resource": {"app_guid": "test-broker-app"}}'
}

check_delete() {
    local path
    path=$(instance_path)
    request DELETE "$path?accepts_incomplete=true&$(query)"
    GONE=yes settle delete "$path" 200 || return 0
    instance=''
    request DELETE "$path?accepts_incomplete=true&$(query)"
    expect delete 410 'once more' || true
}

# A platform that has purged, or restored, what it knows asks for what the broker does not have.
check_purge() {
    local unknown
    unknown=$(uuid)
    request DELETE "/v2/service_instances/$unknown?accepts_incomplete=true&$(query)"
    expect purge 410 'an instance that nobody made' || true
    request DELETE "/v2/service_instances/$unknown/service_bindings/$(uuid)?accepts_incomplete=true&$(query)"
    expect purge 410 'a binding to it' || true
}

main() {
    [[ $# -eq 3 || $# -eq 4 ]] || usage
    local user=$2 password=$3 tool
    url=${1%/}
    for tool in curl jq; do
        command -v "$tool" >/dev/null || {
            printf '%s is not installed\n' "$tool" >&2
            exit 2
        }
    done
    [[ $password != - ]] || password=${BROKER_PASSWORD:?is not set}
    work=$(mktemp -d)
    run=$(uuid)
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # A file, so that the password is on no command line; quotes and backslashes are curl's.
    jq -rn --arg user "$user:$password" '"user = \($user | tojson)"' >"$work/curl"
    if check_catalog "${4:-}" && check_create; then
        check_show
        check_update
        check_rename
        check_upgrade
        check_bindings
        check_delete
        check_purge
    fi
    printf '%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
    ((failed == 0))
}

main "$@"
