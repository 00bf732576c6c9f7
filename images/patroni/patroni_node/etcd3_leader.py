"""Keeps a leader that was away from taking the leader key back from its successor. For Patroni 3.0 on etcd v3.

A leader that stood still for longer than the TTL (a frozen host, a virtual machine that was moved) finds its lease
gone. Patroni 3.0 then gets a new lease and puts the leader key under it whoever holds the key by now: the successor
steps down, is rewound, and what it had acknowledged is lost. Later versions of Patroni put the key only if it still
has their own name or is gone, and so does this. On the other engines Patroni 3.0 never did otherwise.
"""

import base64
import inspect
from typing import Any

from .consul_client import UnexpectedShape

AUTH_OLD_REVISION = "etcdserver: revision of auth store is old"


def adapt(etcd3: Any) -> None:
    """Changes `patroni.dcs.etcd3`, if it is one that needs it."""
    parameters = list(inspect.signature(etcd3.PatroniEtcd3Client.txn).parameters)
    if "failure" in parameters:
        # What the mended version uses.
        return
    if parameters != ["self", "compare", "success", "retry"]:
        raise UnexpectedShape("PatroniEtcd3Client.txn takes other parameters")
    for name in ("_update_leader", "_do_refresh_lease", "_run_and_handle_exceptions"):
        if not callable(getattr(etcd3.Etcd3, name, None)):
            raise UnexpectedShape(f"Etcd3.{name} is missing")
    # Refused so, too, Patroni 3.0 is to log in again. Else a JWT token is worth nothing from the first change of any
    # user until it expires.
    etcd3.errStringToClientError.setdefault(AUTH_OLD_REVISION, etcd3.InvalidAuthToken)
    refusals = (etcd3.InvalidAuthToken, etcd3.UserEmpty)

    def adapted(self: Any) -> bool:
        return update_leader(self, refusals)

    etcd3.Etcd3._update_leader = etcd3.catch_return_false_exception(adapted)


def update_leader(self: Any, refusals: tuple[type[Exception], ...]) -> bool:
    """`Etcd3._update_leader`: says whether this node holds the leader key, under a lease that is alive."""
    retry = self._retry.copy()

    def retried(*args: Any, **kwargs: Any) -> Any:
        return retry(*args, **kwargs, retry=retry)

    def transaction(*args: Any, **kwargs: Any) -> Any:
        # The only call of Patroni 3.0 that does not log in again by itself when its token is refused.
        try:
            return self._client.txn(*args, **kwargs)
        except refusals:
            self._client.authenticate()
            return self._client.txn(*args, **kwargs)

    self._run_and_handle_exceptions(self._do_refresh_lease, True, retry=retried)
    if not self._lease:
        return False
    leader = self.cluster and self.cluster.leader
    if leader and getattr(leader, "session", None) == self._lease:
        return True

    key, value = (base64.b64encode(text.encode()).decode() for text in (self.leader_path, self._name))
    put = {"request_put": {"key": key, "value": value, "lease": self._lease}}
    still_ours = {"key": key, "target": "VALUE", "value": value}
    gone = {"key": key, "target": "CREATE", "create_revision": "0"}
    return any(
        self._run_and_handle_exceptions(transaction, condition, put, retry=retried)
        for condition in (still_ours, gone)
    )
