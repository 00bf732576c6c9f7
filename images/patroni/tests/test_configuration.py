import json
import unittest

from patroni_node.address import Address
from patroni_node.configuration import patroni_configuration, rewind_credentials, store_section
from patroni_node.files import as_yaml
from patroni_node.post_bootstrap import identifier, literal, statements
from patroni_node.settings import parse_secrets, parse_settings
from patroni_node.store_tls import TlsFiles

from .test_settings import ENVIRONMENT, SECRETS


def configuration(environment=None, secrets=None):
    settings = parse_settings({**ENVIRONMENT, **(environment or {})})
    parsed = parse_secrets(json.dumps({**SECRETS, **(secrets or {})}))
    return patroni_configuration(settings, parsed, Address("h:1", "h:2"), "/data/tls/c", "/data/tls/k")


class Configuration(unittest.TestCase):
    def test_addresses(self):
        made = configuration()
        self.assertEqual(made["postgresql"]["connect_address"], "h:1")
        self.assertEqual(made["restapi"]["connect_address"], "h:2")

    def test_wishes_reach_the_cluster(self):
        wishes = '{"ttl": 30, "synchronous": true, "postgresql_parameters": {"work_mem": "8MB"}}'
        dcs = configuration({"BROKER_SETTINGS": wishes})["bootstrap"]["dcs"]
        self.assertEqual((dcs["ttl"], dcs["synchronous_mode"]), (30, True))
        self.assertEqual(dcs["postgresql"]["parameters"], {"work_mem": "8MB"})
        self.assertTrue(dcs["failsafe_mode"])

    def test_store_sections(self):
        rows = [
            ("etcd", None, {"etcd": {"hosts": ["a:1", "b:2"], "protocol": "http"}}),
            ("etcd3", "p", {"etcd3": {"hosts": ["a:1", "b:2"], "protocol": "http", "username": "u", "password": "p"}}),
            ("consul", "p", {"consul": {"host": "a:1", "scheme": "http", "token": "p"}}),
        ]
        for engine, password, expected in rows:
            environment = {"BROKER_STORE_ENGINE": engine, "BROKER_STORE_ENDPOINTS": "http://a:1,http://b:2"}
            store = password and {"username": "u", "password": password}
            with self.subTest(engine):
                settings = parse_settings({**ENVIRONMENT, **environment})
                section = store_section(settings, parse_secrets(json.dumps({**SECRETS, "store": store})), None)
                self.assertEqual(section, expected)

    def test_store_sections_by_tls(self):
        files = {"cacert": "/ca", "cert": "/cert", "key": "/key"}
        rows = [
            ("etcd", TlsFiles("/ca"), {"hosts": ["a:1"], "protocol": "https", "cacert": "/ca"}),
            ("etcd3", TlsFiles("/ca", "/cert", "/key"), {"hosts": ["a:1"], "protocol": "https", **files}),
            ("consul", TlsFiles("/ca", "/cert", "/key"), {"host": "a:1", "scheme": "https", "verify": True, **files}),
        ]
        for engine, tls, expected in rows:
            environment = {"BROKER_STORE_ENGINE": engine, "BROKER_STORE_ENDPOINTS": "https://a:1"}
            with self.subTest(engine):
                settings = parse_settings({**ENVIRONMENT, **environment})
                section = store_section(settings, parse_secrets(json.dumps(SECRETS)), tls)
                self.assertEqual(section, {engine: expected})

    def test_the_superuser_is_refused_before_anyone_is_let_in(self):
        rules = configuration()["postgresql"]["pg_hba"]
        network = [rule for rule in rules if rule.startswith("host")]
        self.assertEqual(network[0], 'host all "postgres" all reject')
        self.assertEqual(network[-1], "host all all all scram-sha-256")
        self.assertFalse([rule for rule in rules if rule.endswith("trust")])

    def test_every_node_works_out_the_same_rewind_password(self):
        first, second = (rewind_credentials(parse_secrets(json.dumps(SECRETS))) for _ in range(2))
        self.assertEqual(first, second)
        named = parse_secrets(json.dumps({**SECRETS, "rewind": {"username": "w", "password": "p"}}))
        self.assertEqual(rewind_credentials(named).username, "w")


class Yaml(unittest.TestCase):
    # JSON that holds these is not YAML: PyYAML refused the file, or read two characters for one.
    def test_awkward_characters(self):
        text = "quote ' \" back\\slash : # { \u007f\u0085\u2028 \u20ac \U0001f600"
        written = as_yaml({"password": text})
        self.assertEqual(json.loads(written)["password"], text)
        for character in "\u007f\u0085\u2028":
            self.assertNotIn(character, written)
        self.assertIn("\U0001f600", written)
        try:
            import yaml
        except ImportError:
            return
        self.assertEqual(yaml.safe_load(written)["password"], text)


class Statements(unittest.TestCase):
    def plan(self, database):
        roles = {role: {"username": role, "verifier": f"SCRAM-{role}"} for role in ("admin", "app")}
        return {"superuser": "postgres", "database": database, "roles": roles}

    def test_the_database_postgres_is_given_and_others_are_made(self):
        self.assertEqual(statements(self.plan("postgres"))[-1], 'ALTER DATABASE "postgres" OWNER TO "app";')
        self.assertEqual(statements(self.plan("shop"))[-1], 'CREATE DATABASE "shop" OWNER "app";')

    def test_no_superuser_is_made(self):
        self.assertNotIn("SUPERUSER", " ".join(statements(self.plan("shop"))))

    def test_quoting(self):
        self.assertEqual(identifier('a"b'), '"a""b"')
        self.assertEqual(literal("it's"), "'it''s'")
        self.assertEqual(literal("a\\'b"), " E'a\\\\''b'")
