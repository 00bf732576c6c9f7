import base64
import json
import unittest

from patroni_node.settings import Credentials
from patroni_node.stores import StoreUnavailable, reader

KEY = "/postgresql-patroni/172.17.0.1:pb-n1:5432"


def encoded(text):
    return base64.b64encode(text.encode()).decode()


class Network:
    """Answers by URL, always the same or one answer after the other, and remembers what it was asked."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def __call__(self, method, url, headers, body):
        self.asked.append((method, url, dict(headers), body))
        answer = self.answers.get(url)
        if answer is None:
            raise OSError("connection refused")
        if isinstance(answer, list):
            answer = answer.pop(0)
        status, document = answer
        return status, document if isinstance(document, bytes) else json.dumps(document).encode()


ETCD = f"http://s:1/v2/keys{KEY}"
RANGE = "http://s:1/v3/kv/range"
LOGIN = "http://s:1/v3/auth/authenticate"
CONSUL = f"http://s:1/v1/kv{KEY}"


class Readers(unittest.TestCase):
    def check(self, engine, answers, expected, credentials=None):
        network = Network(answers)
        self.assertEqual(reader(engine, ["http://s:1"], credentials, network)(KEY), expected)
        return network.asked

    def test_found(self):
        self.check("etcd", {ETCD: (200, {"node": {"value": "h:1"}})}, "h:1")
        self.check("etcd3", {RANGE: (200, {"header": {}, "kvs": [{"value": encoded("h:1")}]})}, "h:1")
        self.check("consul", {CONSUL: (200, [{"Value": encoded("h:1")}])}, "h:1")

    def test_absent(self):
        self.check("etcd", {ETCD: (404, {"errorCode": 100})}, None)
        self.check("etcd3", {RANGE: (200, {"header": {}})}, None)
        self.check("consul", {CONSUL: (404, b"")}, None)

    def test_credentials(self):
        credentials = Credentials("user", "pass")
        asked = self.check("etcd", {ETCD: (200, {"node": {"value": "h:1"}})}, "h:1", credentials)
        self.assertEqual(asked[0][2]["Authorization"], "Basic " + encoded("user:pass"))
        answers = {LOGIN: (200, {"token": "t"}), RANGE: (200, {"header": {}})}
        asked = self.check("etcd3", answers, None, credentials)
        self.assertEqual(asked[1][2]["Authorization"], "t")
        asked = self.check("consul", {CONSUL: (404, b"")}, None, credentials)
        self.assertEqual(asked[0][2]["X-Consul-Token"], "pass")

    # Each login is a password hash to etcd; a crowd of waiting nodes must not make it compute them twice a second.
    def test_a_token_is_kept_until_it_is_refused(self):
        network = Network({LOGIN: (200, {"token": "t1"}), RANGE: (200, {"header": {}})})
        read = reader("etcd3", ["http://s:1"], Credentials("user", "pass"), network)
        read(KEY), read(KEY)
        self.assertEqual([url for _, url, _, _ in network.asked], [LOGIN, RANGE, RANGE])

        network.answers[RANGE] = [(401, {"error": "etcdserver: invalid auth token"}), (200, {"header": {}})]
        self.assertIsNone(read(KEY))
        self.assertEqual([url for _, url, _, _ in network.asked[3:]], [RANGE, LOGIN, RANGE])

    def test_down_is_never_absent(self):
        rows = [
            ("etcd", {}),
            ("etcd", {ETCD: (404, b"<html>not found</html>")}),
            ("etcd", {ETCD: (404, {"message": "no such route"})}),
            ("etcd", {ETCD: (401, {"message": "Insufficient credentials"})}),
            ("etcd", {ETCD: (200, {"node": {"dir": True}})}),
            ("etcd", {ETCD: (503, b"")}),
            ("etcd3", {RANGE: (200, {})}),
            ("etcd3", {RANGE: (404, b"404 page not found")}),
            ("etcd3", {RANGE: (200, b"hush")}),
            ("consul", {CONSUL: (404, b"<html>")}),
            ("consul", {CONSUL: (500, b"No cluster leader")}),
        ]
        for engine, answers in rows:
            with self.subTest(engine=engine, answers=answers), self.assertRaises(StoreUnavailable) as caught:
                reader(engine, ["http://s:1"], None, Network(answers))(KEY)
            self.assertNotIn("hush", str(caught.exception))

    def test_the_next_endpoint_is_asked(self):
        network = Network({f"http://b:1/v2/keys{KEY}": (200, {"node": {"value": "h:1"}})})
        self.assertEqual(reader("etcd", ["http://a:1", "http://b:1"], None, network)(KEY), "h:1")
