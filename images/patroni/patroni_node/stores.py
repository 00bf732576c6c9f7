"""Reads one key from the store, whichever engine it is.

A reader is a function from a key to its value, or None if the store answers that there is no such key. Whatever else
happens is `StoreUnavailable`: "the store is down" is never "the key is absent".
"""

import base64
import json
import ssl
import urllib.error
import urllib.request
from typing import Any, Callable, Mapping, Optional, Sequence
from urllib.parse import quote

from .settings import Credentials

REQUEST_TIMEOUT_S = 3.0
_JSON = {"Content-Type": "application/json"}

Reader = Callable[[str], Optional[str]]
# (method, url, headers, body) to (status, body). Raises OSError if there is no answer. Tests put their own here.
Transport = Callable[[str, str, Mapping[str, str], Optional[bytes]], tuple[int, bytes]]


class StoreUnavailable(Exception):
    """No endpoint gave an answer that can be relied on."""


def reader(
    engine: str, endpoints: Sequence[str], credentials: Optional[Credentials], transport: Transport
) -> Reader:
    """A reader that asks the endpoints in turn until one answers."""
    read_from = {"etcd": _read_etcd_v2, "etcd3": _EtcdV3(), "consul": _read_consul}[engine]

    def read(key: str) -> Optional[str]:
        reasons = []
        for endpoint in endpoints:
            try:
                return read_from(transport, endpoint, credentials, key)
            except (OSError, ValueError, KeyError, TypeError, StoreUnavailable) as error:
                reasons.append(f"{endpoint}: {_reason(error)}")
        raise StoreUnavailable("; ".join(reasons))

    return read


def _read_etcd_v2(transport: Transport, endpoint: str, credentials: Optional[Credentials], key: str) -> Optional[str]:
    headers = {}
    if credentials:
        pair = f"{credentials.username}:{credentials.password}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    # Any member may answer: the address does not change while its entry lives.
    status, body = transport("GET", f"{endpoint}/v2/keys{quote(key, safe='/:')}", headers, None)
    # A proxy's 404 is not the store's: the store says 100, "key not found".
    if status == 404 and json.loads(body).get("errorCode") == 100:
        return None
    return _json(status, body)["node"]["value"]


class _EtcdV3:
    """Keeps its token: each login costs etcd a password hash, and a node that waits looks twice a second."""

    def __init__(self) -> None:
        self._token: Optional[str] = None

    def __call__(
        self, transport: Transport, endpoint: str, credentials: Optional[Credentials], key: str
    ) -> Optional[str]:
        had_token = self._token is not None
        if credentials and not had_token:
            self._log_in(transport, endpoint, credentials)
        status, body = self._range(transport, endpoint, key)
        if credentials and had_token and status in (400, 401, 403):
            # The token may have expired, or etcd has started anew and forgotten it.
            self._log_in(transport, endpoint, credentials)
            status, body = self._range(transport, endpoint, key)
        if status != 200:
            self._token = None
        answer = _json(status, body)
        if "header" not in answer:
            raise StoreUnavailable("not an answer of etcd")
        entries = answer.get("kvs") or []
        return base64.b64decode(entries[0].get("value", "")).decode() if entries else None

    def _log_in(self, transport: Transport, endpoint: str, credentials: Credentials) -> None:
        self._token = None
        login = json.dumps({"name": credentials.username, "password": credentials.password}).encode()
        status, body = transport("POST", f"{endpoint}/v3/auth/authenticate", _JSON, login)
        self._token = _json(status, body)["token"]

    def _range(self, transport: Transport, endpoint: str, key: str) -> tuple[int, bytes]:
        headers = {**_JSON, "Authorization": self._token} if self._token else _JSON
        question = json.dumps({"key": base64.b64encode(key.encode()).decode()}).encode()
        return transport("POST", f"{endpoint}/v3/kv/range", headers, question)


def _read_consul(transport: Transport, endpoint: str, credentials: Optional[Credentials], key: str) -> Optional[str]:
    # Consul knows tokens, no users: the password is the token.
    headers = {"X-Consul-Token": credentials.password} if credentials else {}
    status, body = transport("GET", f"{endpoint}/v1/kv/{quote(key.lstrip('/'), safe='/:')}", headers, None)
    # Consul answers an absent key with an empty 404.
    if status == 404 and not body.strip():
        return None
    return base64.b64decode(_json(status, body)[0]["Value"] or "").decode()


def _json(status: int, body: bytes) -> Any:
    if status != 200:
        raise StoreUnavailable(f"HTTP status {status}")
    return json.loads(body)


def _reason(error: Exception) -> str:
    if isinstance(error, (StoreUnavailable, OSError)):
        return str(getattr(error, "reason", None) or error)
    # What could not be understood may hold anything, even what was sent; it is not repeated.
    return "an answer that makes no sense"


def http_transport(context: Optional[ssl.SSLContext]) -> Transport:
    """The real one; with a context where the endpoints are https."""
    # The store is a neighbour: a proxy for the way out does not lead to it.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    opener = urllib.request.build_opener(*handlers)

    def send(method: str, url: str, headers: Mapping[str, str], body: Optional[bytes]) -> tuple[int, bytes]:
        request = urllib.request.Request(url, data=body, headers=dict(headers), method=method)
        try:
            with opener.open(request, timeout=REQUEST_TIMEOUT_S) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    return send
