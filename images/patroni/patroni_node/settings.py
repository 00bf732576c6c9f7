"""What the broker hands over: the environment, which is no secret, and the secrets file.

Everything is checked here, once; whatever comes out is fit to be used in keys, configuration files and SQL. Error
messages name the field and never show a value of the secrets file.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional
from urllib.parse import urlsplit

SECRETS_FILE = "/etc/patroni-broker/secrets.json"
ENGINES = ("etcd", "etcd3", "consul")

# Role and database names go into pg_hba.conf, pgpass and SQL. This subset means the same in all of them.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,62}")
_NODE = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]{1,64}")


class SettingsError(Exception):
    """What the broker handed over cannot be used; starting again will not help."""


@dataclass(frozen=True)
class Credentials:
    username: str
    # Kept out of every representation, so that a traceback or a log line cannot show it.
    password: str = field(repr=False)


@dataclass(frozen=True)
class StoreTls:
    """PEM texts. No `ca` means the system's roots; `cert` and `key` are there together or not at all."""

    ca: Optional[str]
    cert: Optional[str]
    key: Optional[str] = field(repr=False)


@dataclass(frozen=True)
class Secrets:
    superuser: Credentials
    replication: Credentials
    admin: Credentials
    app: Credentials
    rest_api: Credentials
    store: Optional[Credentials]
    store_tls: Optional[StoreTls]
    rewind: Optional[Credentials]


@dataclass(frozen=True)
class Timing:
    """Patroni's clockwork, in seconds. Patroni wants `loop_wait + 2 * retry_timeout <= ttl`."""

    ttl: int = 20
    loop_wait: int = 3
    retry_timeout: int = 8


@dataclass(frozen=True)
class Settings:
    scope: str
    name: str
    store_engine: str
    store_endpoints: tuple[str, ...]
    # The name of the catalog node that this instance's Consul sessions belong to; None is the agent's own node.
    store_session_node: Optional[str]
    registry_key: str
    timing: Timing
    synchronous: bool
    database: str
    maximum_lag_on_failover: int
    postgresql_parameters: Mapping[str, Any]
    postgresql_major: int

    @property
    def store_by_tls(self) -> bool:
        return urlsplit(self.store_endpoints[0]).scheme == "https"


def parse_settings(environment: Mapping[str, str]) -> Settings:
    engine = _required(environment, "BROKER_STORE_ENGINE")
    if engine not in ENGINES:
        raise SettingsError(f"BROKER_STORE_ENGINE: {engine!r} is none of {', '.join(ENGINES)}")
    registry_key = _required(environment, "BROKER_REGISTRY_KEY")
    if not registry_key.startswith("/"):
        raise SettingsError(f"BROKER_REGISTRY_KEY: {registry_key!r} does not start with /")
    session_node = environment.get("BROKER_STORE_SESSION_NODE", "").strip() or None
    if session_node and engine != "consul":
        raise SettingsError("BROKER_STORE_SESSION_NODE: only Consul has sessions")
    if session_node and not _NODE.fullmatch(session_node):
        raise SettingsError(f"BROKER_STORE_SESSION_NODE: {session_node!r} is not 1 to 128 of A-Z a-z 0-9 . _ ~ -")
    wishes = _wishes(environment.get("BROKER_SETTINGS", "") or "{}")
    return Settings(
        scope=_segment(environment, "PATRONI_SCOPE"),
        name=_segment(environment, "PATRONI_NAME"),
        store_engine=engine,
        store_endpoints=_endpoints(_required(environment, "BROKER_STORE_ENDPOINTS")),
        store_session_node=session_node,
        registry_key=registry_key.rstrip("/"),
        timing=_timing(wishes),
        synchronous=_wish(wishes, "synchronous", bool, False),
        database=_name("BROKER_SETTINGS.database", _wish(wishes, "database", str, "postgres")),
        maximum_lag_on_failover=_wish(wishes, "maximum_lag_on_failover", int, 1024 * 1024),
        postgresql_parameters=_wish(wishes, "postgresql_parameters", dict, {}),
        postgresql_major=int(_required(environment, "POSTGRESQL_MAJOR")),
    )


def parse_secrets(text: str) -> Secrets:
    try:
        document = json.loads(text)
    except ValueError as error:
        # `from None`: the decoder's error carries the whole document.
        raise SettingsError(f"{SECRETS_FILE}: not JSON, at line {error.lineno}") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{SECRETS_FILE}: not a JSON object")
    secrets = Secrets(
        superuser=_role(document, "superuser"),
        replication=_role(document, "replication"),
        admin=_role(document, "admin"),
        app=_role(document, "app"),
        rest_api=_credentials(document, "rest_api"),
        store=_credentials(document, "store") if document.get("store") else None,
        store_tls=_store_tls(document.get("store_tls")),
        rewind=_role(document, "rewind") if document.get("rewind") else None,
    )
    patronis = {"superuser": secrets.superuser, "replication": secrets.replication, "rewind": secrets.rewind}
    for name, credentials in patronis.items():
        # Patroni 4.0 cannot quote others: "'latin-1' codec can't encode character".
        if credentials and not (credentials.password.isascii() and credentials.password.isprintable()):
            raise SettingsError(f"{SECRETS_FILE}: {name}.password has characters that are not printable ASCII")
    roles = [*filter(None, patronis.values()), secrets.admin, secrets.app]
    if len({role.username for role in roles}) != len(roles):
        raise SettingsError(f"{SECRETS_FILE}: two roles have the same username")
    if ":" in secrets.rest_api.username:
        raise SettingsError(f"{SECRETS_FILE}: rest_api.username contains a colon, which HTTP cannot carry")
    return secrets


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise SettingsError(f"{name} is not set")
    return value


def _segment(environment: Mapping[str, str], name: str) -> str:
    value = _required(environment, name)
    if not _SEGMENT.fullmatch(value):
        raise SettingsError(f"{name}: {value!r} is not 1 to 64 characters of A-Z a-z 0-9 . _ ~ -")
    return value


def _endpoints(value: str) -> tuple[str, ...]:
    endpoints = tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
    for endpoint in endpoints:
        try:
            url = urlsplit(endpoint)
            usable = url.scheme in ("http", "https") and url.hostname and url.port and not url.path
        except ValueError:
            usable = False
        if not usable:
            raise SettingsError(f"BROKER_STORE_ENDPOINTS: {endpoint!r} is not like http://host:port")
        if url.username is not None:
            raise SettingsError("BROKER_STORE_ENDPOINTS: user and password belong into the secrets file")
    if not endpoints:
        raise SettingsError("BROKER_STORE_ENDPOINTS names no endpoint")
    if len({urlsplit(endpoint).scheme for endpoint in endpoints}) > 1:
        raise SettingsError("BROKER_STORE_ENDPOINTS: Patroni cannot use http and https side by side")
    return endpoints


def _wishes(text: str) -> dict[str, Any]:
    try:
        wishes = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"BROKER_SETTINGS: not JSON: {error}") from None
    if not isinstance(wishes, dict):
        raise SettingsError("BROKER_SETTINGS: not a JSON object")
    known = {
        "ttl", "loop_wait", "retry_timeout", "synchronous", "database", "maximum_lag_on_failover",
        "postgresql_parameters",
    }  # fmt: skip
    unknown = sorted(set(wishes) - known)
    if unknown:
        raise SettingsError(f"BROKER_SETTINGS: unknown: {', '.join(unknown)}")
    return wishes


def _wish(wishes: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = wishes.get(name)
    if value is None:
        return default
    # A bool is an int to Python, but `"ttl": true` is a mistake.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise SettingsError(f"BROKER_SETTINGS.{name}: {value!r} is not of type {kind.__name__}")
    return value


def _timing(wishes: Mapping[str, Any]) -> Timing:
    ttl = _wish(wishes, "ttl", int, Timing.ttl)
    loop_wait = _wish(wishes, "loop_wait", int, Timing.loop_wait)
    # Left unsaid, it becomes the longest that fits: the store may be away that long before a leader steps down.
    retry_timeout = _wish(wishes, "retry_timeout", int, (ttl - loop_wait) // 2)
    if ttl < 20 or loop_wait < 1 or retry_timeout < 3:
        raise SettingsError("BROKER_SETTINGS: Patroni wants ttl >= 20, loop_wait >= 1 and retry_timeout >= 3")
    if loop_wait + 2 * retry_timeout > ttl:
        raise SettingsError("BROKER_SETTINGS: loop_wait + 2 * retry_timeout is more than ttl")
    return Timing(ttl=ttl, loop_wait=loop_wait, retry_timeout=retry_timeout)


def _name(where: str, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise SettingsError(f"{where} is not a letter or _ followed by at most 62 of A-Z a-z 0-9 _ . @ -")
    return value


def _credentials(document: Mapping[str, Any], name: str) -> Credentials:
    value = document.get(name)
    if not isinstance(value, dict):
        raise SettingsError(f"{SECRETS_FILE}: {name} is missing")
    for part in ("username", "password"):
        if not isinstance(value.get(part), str):
            raise SettingsError(f"{SECRETS_FILE}: {name}.{part} is missing")
        if any(character in value[part] for character in "\0\r\n"):
            raise SettingsError(f"{SECRETS_FILE}: {name}.{part} contains a line break or a zero byte")
    if not value["password"]:
        raise SettingsError(f"{SECRETS_FILE}: {name}.password is empty")
    return Credentials(value["username"], value["password"])


def _store_tls(value: Any) -> Optional[StoreTls]:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise SettingsError(f"{SECRETS_FILE}: store_tls is not an object")
    unknown = sorted(set(value) - {"ca", "cert", "key"})
    if unknown:
        raise SettingsError(f"{SECRETS_FILE}: store_tls: unknown: {', '.join(unknown)}")
    for part, text in value.items():
        if text is not None and not (isinstance(text, str) and text.strip()):
            raise SettingsError(f"{SECRETS_FILE}: store_tls.{part} is neither PEM text nor null")
    tls = StoreTls(value.get("ca"), value.get("cert"), value.get("key"))
    if (tls.cert is None) != (tls.key is None):
        there, missing = ("key", "cert") if tls.cert is None else ("cert", "key")
        raise SettingsError(f"{SECRETS_FILE}: store_tls.{missing} is missing, where store_tls.{there} is given")
    return tls if tls.ca or tls.cert else None


def _role(document: Mapping[str, Any], name: str) -> Credentials:
    credentials = _credentials(document, name)
    _name(f"{SECRETS_FILE}: {name}.username", credentials.username)
    return credentials
