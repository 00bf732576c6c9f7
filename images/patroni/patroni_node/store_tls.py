"""What it takes to talk to the store by TLS: files for Patroni, a context for the entrypoint's own reader.

Server certificates are always checked, against the CA that the broker names or the system's roots, and so is the name
or address in the endpoint. There is no switch to turn that off.
"""

import ssl
from dataclasses import dataclass
from typing import Optional

from .files import write_atomically
from .settings import SECRETS_FILE, SettingsError, StoreTls

# Named in full: Patroni's clients do not agree on what they trust where nothing is named.
SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class TlsFiles:
    ca: str
    cert: Optional[str] = None
    key: Optional[str] = None


def write_files(directory: str, tls: Optional[StoreTls]) -> TlsFiles:
    """Leaves what the broker handed over in files that only this process's user reads."""
    if tls is None:
        return TlsFiles(SYSTEM_ROOTS)
    paths = {}
    for name, text in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if text is not None:
            paths[name] = f"{directory}/store-{name}.pem"
            write_atomically(paths[name], text, 0o600)
    return TlsFiles(**{"ca": SYSTEM_ROOTS, **paths})


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that checks certificate and name. Raises `SettingsError` for files that cannot be used."""
    context = _trusting(files.ca)
    if files.cert and files.key:
        try:
            context.load_cert_chain(files.cert, files.key, password=_no_password)
        except (ssl.SSLError, ValueError, OSError) as error:
            raise _fault(_name_of_fault(files.cert, error)) from None
    return context


def _trusting(ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=ca)
    except (ssl.SSLError, ValueError, OSError):
        raise _fault("store_tls.ca holds no PEM certificate") from None
    return context


def _name_of_fault(cert: str, error: Exception) -> str:
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return "store_tls.key is not the key of store_tls.cert"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=cert)
    except (ssl.SSLError, ValueError, OSError):
        return "store_tls.cert holds no PEM certificate"
    return "store_tls.key holds no PEM key that can be used without a passphrase"


def _no_password() -> str:
    # Asked for by an encrypted key; without this, the passphrase would be asked for at a terminal.
    raise ValueError("the key is encrypted")


def _fault(what: str) -> SettingsError:
    return SettingsError(f"{SECRETS_FILE}: {what}")
