import base64
import unittest
from types import SimpleNamespace

from patroni_node.consul_client import UnexpectedShape
from patroni_node.etcd3_leader import adapt


class Refused(Exception):
    pass


class Never(Exception):
    pass


class Client:
    """A store that holds only the leader key: (holder, lease)."""

    def __init__(self, held, alive, tokens_refused=0):
        self.held, self.alive, self.tokens_refused, self.logins = held, alive, tokens_refused, 0

    def txn(self, compare, success, retry=None):
        if self.tokens_refused:
            self.tokens_refused -= 1
            raise Refused
        wanted = base64.b64decode(compare["value"]).decode() if compare["target"] == "VALUE" else None
        if (self.held and self.held[0]) != wanted:
            return None
        put = success["request_put"]
        self.held = (base64.b64decode(put["value"]).decode(), put["lease"])
        return True

    def authenticate(self):
        self.logins += 1


def patroni_3_0():
    class Retry:
        def copy(self):
            return self

        def __call__(self, method, *args, **kwargs):
            return method(*args, **kwargs)

    class Etcd3:
        leader_path = "/service/b1/leader"
        _name = "n1"
        _retry = Retry()

        def __init__(self, client, lease, seen):
            self._client, self._lease = client, lease
            self.cluster = SimpleNamespace(leader=SimpleNamespace(session=seen))

        def _do_refresh_lease(self, force=False, retry=None):
            if self._lease != self._client.alive:
                self._lease = "new"

        def _run_and_handle_exceptions(self, method, *args, retry=None):
            return retry(method, *args)

        def _update_leader(self):
            raise AssertionError("not adapted")

    def catch(function):
        return function

    return SimpleNamespace(
        Etcd3=Etcd3,
        PatroniEtcd3Client=Client,
        catch_return_false_exception=catch,
        errStringToClientError={},
        InvalidAuthToken=Refused,
        UserEmpty=Never,
    )


class Leader(unittest.TestCase):
    # A leader stood still for longer than the TTL. Its successor had been written to when the old one put the leader
    # key under a lease of its own: the successor was rewound, and what it had acknowledged was gone.
    def test_a_leader_that_was_away_leaves_its_successor_alone(self):
        rows = [
            ("nothing happened", ("n1", "old"), "old", True, ("n1", "old")),
            ("its lease is gone, its key too", None, None, True, ("n1", "new")),
            ("its TTL was changed", ("n1", "old"), None, True, ("n1", "new")),
            ("another leads", ("n2", "other"), None, False, ("n2", "other")),
        ]
        for name, held, alive, expected, afterwards in rows:
            for tokens_refused in (0, 1):
                with self.subTest(name, tokens_refused=tokens_refused):
                    module, client = patroni_3_0(), Client(held, alive, tokens_refused)
                    adapt(module)
                    self.assertIs(module.Etcd3(client, "old", "old")._update_leader(), expected)
                    self.assertEqual(client.held, afterwards)

    def test_an_old_token_is_taken_for_an_invalid_one(self):
        module = patroni_3_0()
        adapt(module)
        self.assertIs(module.errStringToClientError["etcdserver: revision of auth store is old"], Refused)

    def test_later_versions_are_left_alone(self):
        class Mended:
            def txn(self, compare, success, failure=None, *, retry=None):
                pass

        module = patroni_3_0()
        module.PatroniEtcd3Client, its_own = Mended, module.Etcd3._update_leader
        adapt(module)
        self.assertIs(module.Etcd3._update_leader, its_own)

    def test_an_unexpected_version_is_found_out_at_once(self):
        class Other:
            def txn(self, something_else):
                pass

        no_transactions, no_leases = patroni_3_0(), patroni_3_0()
        no_transactions.PatroniEtcd3Client = Other
        del no_leases.Etcd3._do_refresh_lease
        for module in (no_transactions, no_leases):
            with self.assertRaises(UnexpectedShape):
                adapt(module)
