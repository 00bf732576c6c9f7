# shellcheck shell=bash
# Waiting for a condition, always with a deadline.

# wait_until SECONDS COMMAND [ARGUMENT…]: runs the command until it succeeds. Returns 1 once SECONDS have passed.
# The command's output is thrown away, and the command is run at least once.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.2
    done
}
