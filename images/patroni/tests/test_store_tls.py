import os
import shutil
import ssl
import subprocess
import tempfile
import unittest

from patroni_node.settings import SettingsError, StoreTls
from patroni_node.store_tls import SYSTEM_ROOTS, TlsFiles, client_context, write_files


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def made(directory, name, *options):
    """A self-signed certificate and its key, as PEM texts."""
    cert, key = f"{directory}/{name}.crt", f"{directory}/{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    options = [*(options or ["-nodes"]), "-subj", f"/CN={name}", "-keyout", key, "-out", cert]
    subprocess.run([*command, *options], check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return read(cert), read(key)


@unittest.skipUnless(shutil.which("openssl"), "needs openssl")
class Files(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)

    def test_written_for_nobody_else_and_checked(self):
        cert, key = made(self.directory, "client")
        files = write_files(self.directory, StoreTls(f"a comment \u20ac\n{cert}", cert, key))
        self.assertEqual(files.key, f"{self.directory}/store-key.pem")
        for path in (files.ca, files.cert, files.key):
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        context = client_context(files)
        self.assertEqual((context.verify_mode, context.check_hostname), (ssl.CERT_REQUIRED, True))
        self.assertEqual(len(context.get_ca_certs()), 1)

    def test_without_a_ca_the_system_is_trusted(self):
        self.assertEqual(write_files(self.directory, None), TlsFiles(SYSTEM_ROOTS))
        cert, key = made(self.directory, "client")
        self.assertEqual(write_files(self.directory, StoreTls(None, cert, key)).ca, SYSTEM_ROOTS)

    def test_faults_are_named_and_nothing_is_shown(self):
        cert, key = made(self.directory, "client")
        _, other = made(self.directory, "other")
        _, encrypted = made(self.directory, "encrypted", "-passout", "pass:hush")
        rows = [
            (StoreTls("hush", None, None), "store_tls.ca holds no"),
            (StoreTls(key, None, None), "store_tls.ca holds no"),
            (StoreTls(cert, "hush", key), "store_tls.cert holds no"),
            (StoreTls(cert, cert, "hush"), "store_tls.key holds no"),
            (StoreTls(cert, cert, cert), "store_tls.key holds no"),
            (StoreTls(cert, cert, encrypted), "store_tls.key holds no PEM key that can be used without a passphrase"),
            (StoreTls(cert, cert, other), "store_tls.key is not the key of store_tls.cert"),
        ]
        for tls, message in rows:
            with self.subTest(message), self.assertRaises(SettingsError) as caught:
                client_context(write_files(self.directory, tls))
            self.assertIn(message, str(caught.exception))
            self.assertNotIn("hush", str(caught.exception))
