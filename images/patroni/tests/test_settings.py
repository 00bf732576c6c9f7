import json
import unittest

from patroni_node.settings import SettingsError, StoreTls, Timing, parse_secrets, parse_settings

ENVIRONMENT = {
    "PATRONI_SCOPE": "b1",
    "PATRONI_NAME": "n1",
    "BROKER_STORE_ENGINE": "etcd",
    "BROKER_STORE_ENDPOINTS": "http://172.17.0.1:4001",
    "BROKER_REGISTRY_KEY": "/postgresql-patroni/172.17.0.1:pb-n1",
    "POSTGRESQL_MAJOR": "17",
}
SECRETS = {
    "superuser": {"username": "postgres", "password": "s"},
    "replication": {"username": "replicator", "password": "r"},
    "admin": {"username": "pgadmin", "password": "a"},
    "app": {"username": "appuser", "password": "p"},
    "rest_api": {"username": "patroni", "password": "x:y"},
    "store": None,
}


class Environment(unittest.TestCase):
    def test_defaults(self):
        settings = parse_settings(ENVIRONMENT)
        self.assertEqual(settings.timing, Timing(ttl=20, loop_wait=3, retry_timeout=8))
        self.assertEqual((settings.database, settings.synchronous), ("postgres", False))

    def test_retry_timeout_follows_the_ttl(self):
        settings = parse_settings({**ENVIRONMENT, "BROKER_SETTINGS": '{"ttl": 33}'})
        self.assertEqual(settings.timing, Timing(ttl=33, loop_wait=3, retry_timeout=15))

    def test_several_endpoints(self):
        settings = parse_settings({**ENVIRONMENT, "BROKER_STORE_ENDPOINTS": "http://a:1/, http://b:2,"})
        self.assertEqual(settings.store_endpoints, ("http://a:1", "http://b:2"))

    def test_session_node(self):
        self.assertIsNone(parse_settings(ENVIRONMENT).store_session_node)
        consul = {"BROKER_STORE_ENGINE": "consul", "BROKER_STORE_SESSION_NODE": "pb-b1"}
        self.assertEqual(parse_settings({**ENVIRONMENT, **consul}).store_session_node, "pb-b1")

    def test_tls_goes_by_the_endpoints(self):
        for endpoint, expected in (("http://a:1", False), ("https://a:1", True), ("HTTPS://a:1", True)):
            with self.subTest(endpoint):
                settings = parse_settings({**ENVIRONMENT, "BROKER_STORE_ENDPOINTS": endpoint})
                self.assertEqual(settings.store_by_tls, expected)

    def test_refused(self):
        rows = [
            ({"PATRONI_SCOPE": ""}, "PATRONI_SCOPE is not set"),
            ({"PATRONI_SCOPE": "a/b"}, "PATRONI_SCOPE"),
            ({"PATRONI_NAME": "a" * 65}, "PATRONI_NAME"),
            ({"BROKER_STORE_ENGINE": "zookeeper"}, "none of etcd, etcd3, consul"),
            ({"BROKER_STORE_ENDPOINTS": "localhost:4001"}, "not like http://host:port"),
            ({"BROKER_STORE_ENDPOINTS": "http://a"}, "not like http://host:port"),
            ({"BROKER_STORE_ENDPOINTS": "http://a:99999"}, "not like http://host:port"),
            ({"BROKER_STORE_ENDPOINTS": ","}, "names no endpoint"),
            ({"BROKER_STORE_ENDPOINTS": "http://u:p@a:1"}, "secrets file"),
            ({"BROKER_STORE_ENDPOINTS": "http://a:1,https://b:1"}, "side by side"),
            ({"BROKER_STORE_SESSION_NODE": "pb-b1"}, "only Consul"),
            ({"BROKER_STORE_ENGINE": "consul", "BROKER_STORE_SESSION_NODE": "a b"}, "BROKER_STORE_SESSION_NODE"),
            ({"BROKER_REGISTRY_KEY": "postgresql-patroni/x"}, "does not start with /"),
            ({"BROKER_SETTINGS": "{"}, "not JSON"),
            ({"BROKER_SETTINGS": "[]"}, "not a JSON object"),
            ({"BROKER_SETTINGS": '{"tll": 20}'}, "unknown: tll"),
            ({"BROKER_SETTINGS": '{"ttl": true}'}, "ttl: True is not of type int"),
            ({"BROKER_SETTINGS": '{"ttl": 19}'}, "ttl >= 20"),
            ({"BROKER_SETTINGS": '{"ttl": 20, "retry_timeout": 10}'}, "more than ttl"),
            ({"BROKER_SETTINGS": '{"synchronous": "yes"}'}, "not of type bool"),
            ({"BROKER_SETTINGS": '{"database": "a b"}'}, "BROKER_SETTINGS.database"),
            ({"BROKER_SETTINGS": '{"postgresql_parameters": []}'}, "not of type dict"),
        ]
        for change, message in rows:
            with self.subTest(change), self.assertRaises(SettingsError) as caught:
                parse_settings({**ENVIRONMENT, **change})
            self.assertIn(message, str(caught.exception))


class SecretsFile(unittest.TestCase):
    def test_taken(self):
        secrets = parse_secrets(json.dumps(SECRETS))
        self.assertEqual(secrets.app.password, "p")
        self.assertIsNone(secrets.store)
        self.assertIsNone(secrets.rewind)

    def test_store_tls(self):
        rows = [
            (None, None),
            ({}, None),
            ({"ca": None, "cert": None, "key": None}, None),
            ({"ca": "A"}, StoreTls("A", None, None)),
            ({"cert": "C", "key": "K"}, StoreTls(None, "C", "K")),
        ]
        for given, expected in rows:
            with self.subTest(given):
                self.assertEqual(parse_secrets(json.dumps({**SECRETS, "store_tls": given})).store_tls, expected)
        self.assertNotIn("hush", repr(StoreTls("A", "C", "hush")))

    def test_no_representation_shows_a_password(self):
        secrets = parse_secrets(json.dumps({**SECRETS, "app": {"username": "u", "password": "hush"}}))
        self.assertNotIn("hush", f"{secrets} {secrets!r}")

    def test_refused_without_showing_a_value(self):
        rows = [
            ({"app": None}, "app is missing"),
            ({"store_tls": "hush"}, "store_tls is not an object"),
            ({"store_tls": {"cacert": "hush"}}, "store_tls: unknown: cacert"),
            ({"store_tls": {"ca": 7}}, "store_tls.ca is neither"),
            ({"store_tls": {"ca": ""}}, "store_tls.ca is neither"),
            ({"store_tls": {"cert": "hush"}}, "store_tls.key is missing"),
            ({"store_tls": {"key": "hush"}}, "store_tls.cert is missing"),
            ({"app": {"username": "u"}}, "app.password is missing"),
            ({"app": {"username": "u", "password": ""}}, "app.password is empty"),
            ({"app": {"username": "u", "password": "hush\n"}}, "line break"),
            ({"app": {"username": 'u" all', "password": "hush"}}, "app.username"),
            ({"app": {"username": "postgres", "password": "hush"}}, "the same username"),
            ({"rest_api": {"username": "a:b", "password": "hush"}}, "colon"),
            # Patroni 4.0 failed to bootstrap with such a password, after initdb, and gave up.
            ({"replication": {"username": "r", "password": "hush\U0001f600"}}, "not printable ASCII"),
        ]
        for change, message in rows:
            with self.subTest(change), self.assertRaises(SettingsError) as caught:
                parse_secrets(json.dumps({**SECRETS, **change}))
            self.assertIn(message, str(caught.exception))
            self.assertNotIn("hush", str(caught.exception))

    def test_broken_file_is_not_shown(self):
        with self.assertRaises(SettingsError) as caught:
            parse_secrets('{"app": hush')
        self.assertNotIn("hush", str(caught.exception))
        self.assertIsNone(caught.exception.__cause__)
