"""The node's own TLS certificate, made once and kept on the volume.

It encrypts; it proves nothing to a client, since nobody vouches for it. Whoever wants more puts a certificate of his
own in its place.
"""

import os
import subprocess

LIFETIME_DAYS = 3650


def ensure_certificate(directory: str, name: str) -> tuple[str, str]:
    """The paths of certificate and key, which are made if either is missing."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    certificate, key = os.path.join(directory, "server.crt"), os.path.join(directory, "server.key")
    if os.path.exists(certificate) and os.path.exists(key):
        return certificate, key
    # Made beside their places, and the key moved first: a start that is cut short leaves nothing that looks finished.
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", str(LIFETIME_DAYS), "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
            "-keyout", f"{key}.new", "-out", f"{certificate}.new",
        ],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    os.chmod(f"{key}.new", 0o600)
    os.replace(f"{key}.new", key)
    os.replace(f"{certificate}.new", certificate)
    return certificate, key
