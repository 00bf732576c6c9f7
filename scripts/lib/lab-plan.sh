# shellcheck shell=bash
# What a lab consists of: names, zones and addresses, the same on one machine and on virtual ones.
#
# $lab_network is the first three numbers of its network, $lab_cells how many cells there are.
#   .1         the machine that the lab is on
#   .2         the hub: three etcds, the broker with its router
#   .11, .12…  the cells c1, c2…
# shellcheck disable=SC2154 # the scripts that source this set both

# shellcheck disable=SC2034 # for those that source this
readonly LAB_ENGINE_PORT=2376
readonly LAB_ETCDS=3

# lab_names: the cells, one a line.
lab_names() { seq --format 'c%g' "$lab_cells"; }

# lab_address NAME: of host, hub, or a cell. "images" is where the cells' images are put together.
lab_address() {
    case $1 in
        host) printf '%s.1\n' "$lab_network" ;;
        hub) printf '%s.2\n' "$lab_network" ;;
        images) printf '%s.10\n' "$lab_network" ;;
        c*) printf '%s.%d\n' "$lab_network" "$((10 + ${1#c}))" ;;
    esac
}

# lab_zone CELL: the first half is z1, the other half is z2.
lab_zone() { printf 'z%d\n' "$((1 + 2 * (${1#c} - 1) / lab_cells))"; }

# lab_etcd_port NUMBER: where clients reach that etcd; its peers are on the next port.
lab_etcd_port() { printf '%d\n' "$((2279 + 100 * $1))"; }

# lab_etcd_endpoints: one a line.
lab_etcd_endpoints() {
    local number
    for ((number = 1; number <= LAB_ETCDS; number++)); do
        printf 'http://%s:%s\n' "$(lab_address hub)" "$(lab_etcd_port "$number")"
    done
}
