"""Runs Patroni as the `patroni` command does, with its client of etcd v3 or Consul adapted first.

Patroni's daemon is a fork of this process; PostgreSQL is started by way of a new interpreter, which imports this
module again, so it does nothing when imported.
"""

import multiprocessing
import os
import sys
from importlib import import_module
from importlib.metadata import distribution

from . import consul_client, etcd3_leader
from .consul_client import UnexpectedShape
from .settings import Settings, parse_settings

ADAPTED = ("etcd3", "consul")


def main() -> object:
    settings = parse_settings(os.environ)
    # An interpreter made anew would start the daemon with an unchanged client.
    multiprocessing.set_start_method("fork")
    try:
        adapt(settings)
    except (UnexpectedShape, ImportError, AttributeError, TypeError, ValueError) as error:
        print(f"error: this Patroni cannot be run on {settings.store_engine}: {error}", file=sys.stderr, flush=True)
        return os.EX_SOFTWARE
    command = next(
        entry
        for entry in distribution("patroni").entry_points
        if entry.group == "console_scripts" and entry.name == "patroni"
    )
    return command.load()()


def adapt(settings: Settings) -> None:
    if settings.store_engine == "etcd3":
        etcd3_leader.adapt(import_module("patroni.dcs.etcd3"))
    if settings.store_engine == "consul":
        client_class = import_module("patroni.dcs.consul").ConsulClient
        consul_client.adapt(client_class, settings.store_session_node, settings.store_endpoints)


if __name__ == "__main__":
    sys.exit(main())
