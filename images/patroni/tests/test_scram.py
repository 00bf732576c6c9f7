import base64
import hashlib
import hmac
import unittest

from patroni_node.scram import prepared, verifier


class Scram(unittest.TestCase):
    def test_the_example_of_rfc_7677(self):
        """The client's proof of the RFC's example fits the verifier made from its password and salt."""
        salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
        exchange = (
            "n=user,r=rOprNGfwEbeRWgbNEkqO,"
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        )
        proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
        _, parameters, keys = verifier("pencil", salt).split("$")
        self.assertEqual(parameters, "4096:W22ZaJ0SNY7soEsUEjb6gQ==")
        stored_key, server_key = map(base64.b64decode, keys.split(":"))
        signature = hmac.digest(stored_key, exchange.encode(), "sha256")
        client_key = bytes(a ^ b for a, b in zip(proof, signature))
        self.assertEqual(hashlib.sha256(client_key).digest(), stored_key)
        server_signature = base64.b64encode(hmac.digest(server_key, exchange.encode(), "sha256")).decode()
        self.assertEqual(server_signature, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")

    def test_saslprep(self):
        # The examples of RFC 4013; what it prohibits is used as it is, as PostgreSQL does.
        rows = [
            ("I\u00adX", b"IX"),
            ("user", b"user"),
            ("USER", b"USER"),
            ("\u00aa", b"a"),
            ("\u2168", b"IX"),
            ("a\u00a0b", b"a b"),
            ("\u0007", b"\x07"),
            ("\u06271", "\u06271".encode()),
            ("\u00ad", "\u00ad".encode()),
        ]
        for password, expected in rows:
            with self.subTest(password):
                self.assertEqual(prepared(password), expected)
