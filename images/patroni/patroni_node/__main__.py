"""The container's first process: prepares a node, then becomes Patroni.

Patroni as a container's first process reaps orphans and passes signals on, so nothing else is needed there.
"""

import os
import signal
import sys
import time
from datetime import datetime

from . import address, certificate, privileges, run_patroni, store_tls, stores
from .configuration import PRIVATE_DIRECTORY, SOCKET_DIRECTORY, patroni_configuration
from .files import as_yaml, write_atomically
from .post_bootstrap import write_plan
from .settings import SECRETS_FILE, Secrets, SettingsError, parse_secrets, parse_settings

VOLUME = "/data"
ADDRESS_FILE = f"{VOLUME}/address.json"
CERTIFICATE_DIRECTORY = f"{VOLUME}/tls"
PATRONI = "/usr/bin/patroni"
CONFIGURATION_FILE = f"{PRIVATE_DIRECTORY}/patroni.yml"

# From sysexits.h: the configuration is at fault.
EXIT_CONFIGURATION = 78


def main() -> int:
    # The kernel gives a container's first process no default for signals; without this, a stop while waiting would
    # take as long as Docker's patience.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        settings = parse_settings(os.environ)
        if os.geteuid() == 0:
            privileges.prepare_as_root(VOLUME, PRIVATE_DIRECTORY, SOCKET_DIRECTORY)
        secrets = read_secrets()
    except SettingsError as error:
        log(f"error: {error}")
        return EXIT_CONFIGURATION
    privileges.become_postgres()
    try:
        tls = store_tls.write_files(PRIVATE_DIRECTORY, secrets.store_tls) if settings.store_by_tls else None
        context = store_tls.client_context(tls) if tls else None
    except SettingsError as error:
        log(f"error: {error}")
        return EXIT_CONFIGURATION

    transport = stores.http_transport(context)
    read = stores.reader(settings.store_engine, settings.store_endpoints, secrets.store, transport)
    kept = address.load_kept(ADDRESS_FILE, settings.registry_key)
    found = address.await_address(read, settings.registry_key, kept, time.monotonic, time.sleep, log)
    if found != kept:
        address.keep(ADDRESS_FILE, settings.registry_key, found)
    log(f"{settings.name} of {settings.scope} is reached at {found.postgresql}, its REST API at {found.rest_api}")

    cert, key = certificate.ensure_certificate(CERTIFICATE_DIRECTORY, settings.name)
    write_plan(settings, secrets)
    configuration = patroni_configuration(settings, secrets, found, cert, key, tls)
    write_atomically(CONFIGURATION_FILE, as_yaml(configuration), 0o600)
    # Back to what a process starts with: Patroni sets up its own.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if settings.store_engine in run_patroni.ADAPTED:
        os.execv(sys.executable, [sys.executable, "-m", "patroni_node.run_patroni", CONFIGURATION_FILE])
    os.execv(PATRONI, [PATRONI, CONFIGURATION_FILE])


def read_secrets() -> Secrets:
    try:
        with open(SECRETS_FILE, encoding="utf-8") as file:
            return parse_secrets(file.read())
    except OSError as error:
        raise SettingsError(f"{SECRETS_FILE}: {error.strerror}; the broker puts it there before the start") from None


def log(message: str) -> None:
    # Like Patroni's own lines, which follow in the same log.
    now = datetime.now()
    print(f"{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03d} INFO: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
