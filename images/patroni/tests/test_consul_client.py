import unittest

from patroni_node.consul_client import Agents, UnexpectedShape, adapt

ENDPOINTS = ("http://a:1", "http://b:2", "http://c:3")


class Answer:
    def __init__(self, status):
        self.status = status


class Pool:
    """Remembers what it was asked; the agents in `down` give no answer, those in `faulty` a server's fault."""

    def __init__(self, down=(), faulty=()):
        self.down, self.faulty, self.asked = down, faulty, []

    def request(self, method, url, **kwargs):
        self.asked.append(url)
        if any(url.startswith(endpoint) for endpoint in self.down):
            raise OSError("connection refused")
        return Answer(500 if any(url.startswith(endpoint) for endpoint in self.faulty) else 200)

    def clear(self):
        return "cleared"


class Session:
    def __init__(self):
        self.made = []

    def create(self, name=None, node=None, checks=None, lock_delay=15, behavior="release", ttl=None, dc=None):
        self.made.append((name, node, checks, lock_delay, behavior))
        return "id"


def client_class(session=Session, pool=Pool, base_uri="http://a:1"):
    class Http:
        def __init__(self):
            self.http, self.base_uri = pool(), base_uri

    class Client:
        def __init__(self, host=None, port=None):
            self.http, self.session = Http(), session()

    return Client


class Sessions(unittest.TestCase):
    def test_are_made_on_the_instances_own_node(self):
        changed = client_class()
        adapt(changed, "pb-b1", ENDPOINTS[:1])
        client = changed(host="a", port=1)
        # As Patroni calls it.
        self.assertEqual(client.session.create(name="b1-n1", checks=[], lock_delay=0.001, behavior="delete"), "id")
        self.assertEqual(client.session.made, [("b1-n1", "pb-b1", [], 0.001, "delete")])

    def test_an_unexpected_library_is_found_out_at_once(self):
        class NoNode:
            def create(self, name=None, checks=None, lock_delay=15, behavior="release"):
                return "id"

        rows = [
            ("no node", client_class(session=NoNode)),
            ("no session", client_class(session=lambda: None)),
            ("no pool", client_class(pool=lambda: None)),
            ("no address", client_class(base_uri=None)),
        ]
        for name, changed in rows:
            with self.subTest(name), self.assertRaises(UnexpectedShape):
                adapt(changed, "pb-b1", ENDPOINTS)


class SeveralAgents(unittest.TestCase):
    def agents(self, **kwargs):
        pool = Pool(**kwargs)
        self.pauses = []
        return pool, Agents(pool, "http://a:1", ENDPOINTS, self.pauses.append)

    def test_the_first_serves_as_long_as_it_answers(self):
        pool, agents = self.agents()
        for _ in range(2):
            agents.request("GET", "http://a:1/v1/kv/x?index=1")
        self.assertEqual(pool.asked, ["http://a:1/v1/kv/x?index=1"] * 2)
        self.assertEqual(agents.clear(), "cleared")
        self.assertEqual(self.pauses, [])

    def test_a_failure_is_told_and_the_next_request_goes_elsewhere(self):
        pool, agents = self.agents(down=ENDPOINTS[:1], faulty=ENDPOINTS[1:2])
        with self.assertRaises(OSError):
            agents.request("PUT", "http://a:1/x")
        self.assertEqual(agents.request("PUT", "http://a:1/x").status, 500)
        self.assertEqual(agents.request("PUT", "http://a:1/x").status, 200)
        self.assertEqual(pool.asked, ["http://a:1/x", "http://b:2/x", "http://c:3/x"])
        self.assertEqual(len(self.pauses), 2)

    def test_it_goes_round(self):
        pool, agents = self.agents(down=ENDPOINTS)
        for _ in range(4):
            with self.assertRaises(OSError):
                agents.request("GET", "http://a:1/x")
        self.assertEqual(pool.asked[-1], "http://a:1/x")

    def test_a_foreign_address_is_refused(self):
        _, agents = self.agents()
        with self.assertRaises(UnexpectedShape):
            agents.request("GET", "http://elsewhere:1/x")
