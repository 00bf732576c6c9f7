# shellcheck shell=bash
# Ports for servers that a script starts.

# Succeeds if nothing on this machine listens on the TCP port, on any address.
port_free() {
    local hex
    hex=$(printf '%04X' "$1")
    ! awk -v port=":$hex\$" '$4 == "0A" && $2 ~ port { found = 1 } END { exit !found }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# free_port FIRST LAST: prints the first free port of a range. Between this answer and its use someone else may take
# the port: choose ranges below the kernel's ephemeral ports (32768), where nothing takes one by chance.
free_port() {
    local port
    for ((port = $1; port <= $2; port++)); do
        if port_free "$port"; then
            printf '%s\n' "$port"
            return 0
        fi
    done
    return 1
}
