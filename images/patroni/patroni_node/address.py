"""Learns where the node is reached from outside its container, and keeps it.

The registrar writes the host and port at which a container's port is published into the store, under
`<registry key>:<container port>`. The answer is kept on the volume. A host that was switched off starts its containers
without anyone's help, perhaps before the store and the registrar are back; the kept address serves then.
"""

import json
import re
from dataclasses import dataclass
from typing import Callable, Optional

from .files import write_atomically
from .stores import Reader, StoreUnavailable

POSTGRESQL_PORT = 5432
REST_API_PORT = 8008

# Between two looks at the store. The first looks are close together: the registrar hears of a start within moments.
POLL_INTERVALS_S = (0.1, 0.1, 0.2, 0.3, 0.5)
REPORT_INTERVAL_S = 10.0
# How long the store is asked before a kept address is used. Long enough for a registrar that is just announcing the
# container's start, short enough not to be felt.
KEPT_ADDRESS_PATIENCE_S = 2.0

_HOST_AND_PORT = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


@dataclass(frozen=True)
class Address:
    """Each is `host:port`, as others reach it."""

    postgresql: str
    rest_api: str


def await_address(
    read: Reader,
    registry_key: str,
    kept: Optional[Address],
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
    log: Callable[[str], None],
) -> Address:
    """Asks the store until it knows; without a kept address, for ever, saying so from time to time."""
    started = last_report = monotonic()
    looks = 0
    while True:
        try:
            found, reason = _look(read, registry_key)
        except StoreUnavailable as error:
            found, reason = None, f"the store does not answer ({error})"
        if found:
            return found
        now = monotonic()
        if kept and now - started >= KEPT_ADDRESS_PATIENCE_S:
            log(f"{reason}; using the address kept from an earlier start")
            return kept
        if looks == 0 or now - last_report >= REPORT_INTERVAL_S:
            log(f"waiting for the registrar to announce this container: {reason}")
            last_report = now
        sleep(POLL_INTERVALS_S[min(looks, len(POLL_INTERVALS_S) - 1)])
        looks += 1


def load_kept(path: str, registry_key: str) -> Optional[Address]:
    """The address that was kept for this very container. A copied volume or an unreadable file gives none."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        if document["registry_key"] != registry_key:
            return None
        address = Address(document["postgresql"], document["rest_api"])
        return address if _valid(address.postgresql) and _valid(address.rest_api) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(path: str, registry_key: str, address: Address) -> None:
    document = {"registry_key": registry_key, "postgresql": address.postgresql, "rest_api": address.rest_api}
    write_atomically(path, json.dumps(document) + "\n", 0o600)


def _look(read: Reader, registry_key: str) -> tuple[Optional[Address], str]:
    values = []
    for port in (POSTGRESQL_PORT, REST_API_PORT):
        key = f"{registry_key}:{port}"
        value = read(key)
        if value is None:
            return None, f"no entry {key}"
        value = value.strip()
        if not _valid(value):
            return None, f"the entry {key} is not host:port"
        values.append(value)
    return Address(*values), ""


def _valid(value: str) -> bool:
    match = _HOST_AND_PORT.fullmatch(value)
    return bool(match) and 0 < int(match[1]) < 65536
