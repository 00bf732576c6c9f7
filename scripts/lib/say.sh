# shellcheck shell=bash
# What scripts tell their user. Everything goes to stderr, so that a script's results can be read from stdout.

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "error: $*"
    exit 1
}
