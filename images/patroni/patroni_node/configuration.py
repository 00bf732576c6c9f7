"""Patroni's configuration as data. Pure: no I/O, no clock, no environment.

Who may connect how is decided in `access_rules`; README.md says why it is so.
"""

import hashlib
import hmac
from typing import Any, Optional
from urllib.parse import urlsplit

from .address import Address
from .settings import Credentials, Secrets, Settings
from .store_tls import TlsFiles

DATA_DIRECTORY = "/data/postgresql"
SOCKET_DIRECTORY = "/run/postgresql"
PRIVATE_DIRECTORY = "/run/patroni"
POST_BOOTSTRAP = "/usr/bin/python3 -m patroni_node.post_bootstrap"
REWIND_USERNAME = "patroni_rewind"
# In pg_ident.conf: which operating system user is which role on the local socket.
LOCAL_MAP = "node"


def patroni_configuration(
    settings: Settings,
    secrets: Secrets,
    address: Address,
    certificate: str,
    key: str,
    tls: Optional[TlsFiles] = None,
) -> dict[str, Any]:
    rewind = rewind_credentials(secrets)
    return {
        "scope": settings.scope,
        "namespace": "/service/",
        "name": settings.name,
        "restapi": {
            "listen": "0.0.0.0:8008",
            "connect_address": address.rest_api,
            "authentication": _pair(secrets.rest_api),
        },
        **store_section(settings, secrets, tls),
        "bootstrap": {
            "dcs": _cluster_settings(settings),
            "initdb": [
                {"encoding": "UTF8"},
                {"locale": "C.UTF-8"},
                "data-checksums",
                {"auth-local": "scram-sha-256"},
                {"auth-host": "scram-sha-256"},
            ],
            "post_bootstrap": POST_BOOTSTRAP,
        },
        "postgresql": {
            "listen": "0.0.0.0:5432",
            "connect_address": address.postgresql,
            "data_dir": DATA_DIRECTORY,
            "bin_dir": f"/usr/lib/postgresql/{settings.postgresql_major}/bin",
            "pgpass": f"{PRIVATE_DIRECTORY}/pgpass",
            "use_unix_socket": True,
            "use_unix_socket_repl": True,
            "authentication": {
                "superuser": _pair(secrets.superuser),
                "replication": {**_pair(secrets.replication), "sslmode": "prefer"},
                "rewind": {**_pair(rewind), "sslmode": "prefer"},
            },
            "parameters": {
                "unix_socket_directories": SOCKET_DIRECTORY,
                "ssl": "on",
                "ssl_cert_file": certificate,
                "ssl_key_file": key,
                "password_encryption": "scram-sha-256",
                # A new replica's slot, or a new leader, is there within a second or two; the default waits five.
                "wal_retrieve_retry_interval": "1s",
                "log_destination": "stderr",
                "logging_collector": "off",
                "log_line_prefix": "%m [%p] %q%u@%d ",
            },
            "pg_hba": access_rules(secrets, rewind),
            "pg_ident": [f'{LOCAL_MAP} postgres "{secrets.superuser.username}"'],
            "create_replica_methods": ["basebackup"],
            "basebackup": [{"checkpoint": "fast"}],
            # A member that cannot be rewound is made anew from the leader, rather than staying out for ever.
            "remove_data_directory_on_rewind_failure": True,
            "remove_data_directory_on_diverged_timelines": True,
        },
        "watchdog": {"mode": "off"},
    }


def store_section(settings: Settings, secrets: Secrets, tls: Optional[TlsFiles]) -> dict[str, Any]:
    urls = [urlsplit(endpoint) for endpoint in settings.store_endpoints]
    if settings.store_engine == "consul":
        # Patroni's setting takes one Consul agent; `consul_client` gives it the others.
        section: dict[str, Any] = {"host": urls[0].netloc, "scheme": urls[0].scheme}
        if secrets.store:
            section["token"] = secrets.store.password
    else:
        section = {"hosts": [url.netloc for url in urls], "protocol": urls[0].scheme}
        if secrets.store:
            section.update(_pair(secrets.store))
    if tls:
        section["cacert"] = tls.ca
        if settings.store_engine == "consul":
            section["verify"] = True
        if tls.cert:
            section.update(cert=tls.cert, key=tls.key)
    return {settings.store_engine: section}


def access_rules(secrets: Secrets, rewind: Credentials) -> list[str]:
    """pg_hba.conf: the first rule that fits a connection decides."""
    superuser = f'"{secrets.superuser.username}"'
    replication = f'"{secrets.replication.username}"'
    rewinder = f'"{rewind.username}"'
    return [
        f"local all {superuser} peer map={LOCAL_MAP}",
        f"local replication {replication} scram-sha-256",
        "local all all scram-sha-256",
        # From here on: over the network.
        f"host all {superuser} all reject",
        f"hostssl replication {replication} all scram-sha-256",
        f"hostssl postgres {rewinder} all scram-sha-256",
        f"host all {replication},{rewinder} all reject",
        "host replication all all reject",
        "host all all all scram-sha-256",
    ]


def rewind_credentials(secrets: Secrets) -> Credentials:
    """The role with which pg_rewind reads from the leader.

    Where the broker names none, every node works out the same password from the superuser's, which cannot be worked
    out from it in turn.
    """
    if secrets.rewind:
        return secrets.rewind
    password = hmac.new(secrets.superuser.password.encode(), b"patroni-broker rewind", hashlib.sha256).hexdigest()
    return Credentials(REWIND_USERNAME, password)


def _cluster_settings(settings: Settings) -> dict[str, Any]:
    """What goes into the store once, when the cluster is made, and belongs to the whole cluster from then on."""
    return {
        "ttl": settings.timing.ttl,
        "loop_wait": settings.timing.loop_wait,
        "retry_timeout": settings.timing.retry_timeout,
        "maximum_lag_on_failover": settings.maximum_lag_on_failover,
        # A store that is away costs no leader as long as the members see each other.
        "failsafe_mode": True,
        "synchronous_mode": settings.synchronous,
        "postgresql": {
            "use_pg_rewind": True,
            "use_slots": True,
            "parameters": dict(settings.postgresql_parameters),
        },
    }


def _pair(credentials: Credentials) -> dict[str, str]:
    return {"username": credentials.username, "password": credentials.password}
