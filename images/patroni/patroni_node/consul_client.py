"""Teaches Patroni's Consul client two things for which Patroni has no setting.

Sessions of the instance's own: a session belongs to a node of Consul's catalog, and rights to sessions are given by
node. Patroni makes its sessions on the agent's node, so whoever may make one there may end those of all others.
The broker registers a catalog node for each instance, and `create` is told to use it.

Several agents: Patroni talks to one. Here, a request that got no answer, or one of the server's faults, makes the next
request go to the next agent. No request is ever sent again by this code; that stays Patroni's decision. Since Patroni
repeats a failed watch without a pause, a failure is given one: it logged 800 tracebacks while Consul elected a leader.

`adapt` fails where the library is not shaped as expected. A session that were made elsewhere all the same would be
refused by Consul, for want of rights.
"""

import functools
import inspect
import time
from typing import Any, Callable, Optional, Sequence

# Long enough to keep a log readable, short enough not to matter to a failover.
PAUSE_AFTER_FAILURE_S = 0.25


class UnexpectedShape(Exception):
    """Patroni's Consul client is not what this code was written for."""


def adapt(client_class: Any, session_node: Optional[str], endpoints: Sequence[str]) -> None:
    """Changes `patroni.dcs.consul.ConsulClient`, from which Patroni makes its client afterwards."""
    original = client_class.__init__

    @functools.wraps(original)
    def adapted(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if session_node:
            self.session.create = functools.partial(_session_create(self), node=session_node)
        self.http.http = Agents(_pool(self), _base_uri(self), endpoints, time.sleep)

    client_class.__init__ = adapted
    # Makes no connection. What is not as expected comes to light now, not when a session is wanted.
    client_class(host="127.0.0.1", port=8500)


class Agents:
    """Stands in for the client's connection pool and picks the agent for each request."""

    def __init__(self, pool: Any, base_uri: str, endpoints: Sequence[str], sleep: Callable[[float], None]) -> None:
        self._pool = pool
        self._base_uri = base_uri
        self._endpoints = endpoints
        self._sleep = sleep
        self._current = 0

    def request(self, method: str, url: str, **kwargs: Any) -> Any:
        current = self._current
        if not url.startswith(self._base_uri):
            raise UnexpectedShape(f"a request that does not start with {self._base_uri}")
        try:
            response = self._pool.request(method, self._endpoints[current] + url[len(self._base_uri) :], **kwargs)
        except Exception:
            self._turn_from(current)
            raise
        if response.status >= 500:
            self._turn_from(current)
        return response

    def _turn_from(self, failed: int) -> None:
        # Threads that failed on the same agent move on by one together.
        if self._current == failed:
            self._current = (failed + 1) % len(self._endpoints)
        self._sleep(PAUSE_AFTER_FAILURE_S)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


def _session_create(client: Any) -> Any:
    create = getattr(getattr(client, "session", None), "create", None)
    wanted = {"name", "node", "checks", "lock_delay", "behavior"}
    if not callable(create) or not wanted <= set(inspect.signature(create).parameters):
        raise UnexpectedShape("session.create of Patroni's Consul client does not take a node")
    return create


def _pool(client: Any) -> Any:
    pool = getattr(getattr(client, "http", None), "http", None)
    if not callable(getattr(pool, "request", None)):
        raise UnexpectedShape("Patroni's Consul client has no connection pool")
    return pool


def _base_uri(client: Any) -> str:
    base_uri = getattr(client.http, "base_uri", None)
    if not isinstance(base_uri, str):
        raise UnexpectedShape("Patroni's Consul client has no base address")
    return base_uri
