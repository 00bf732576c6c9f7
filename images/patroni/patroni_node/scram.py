"""SCRAM-SHA-256 verifiers as PostgreSQL stores them (RFC 5802, RFC 7677).

PostgreSQL takes a verifier in place of a password. So it never sees the password, and cannot log it.
"""

import base64
import hashlib
import hmac
import stringprep
import unicodedata

ITERATIONS = 4096


def verifier(password: str, salt: bytes) -> str:
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password), salt, ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def prepared(password: str) -> bytes:
    """SASLprep (RFC 4013), or the password as it is where that refuses it; clients of PostgreSQL do the same."""
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in password
        if not stringprep.in_table_b1(character)
    )
    normalized = unicodedata.normalize("NFKC", mapped)
    if not normalized or any(_prohibited(character) for character in normalized) or not _one_direction(normalized):
        return password.encode()
    return normalized.encode()


def _prohibited(character: str) -> bool:
    tables = (
        stringprep.in_table_a1,
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
    )
    return any(table(character) for table in tables)


def _one_direction(text: str) -> bool:
    if not any(map(stringprep.in_table_d1, text)):
        return True
    return not any(map(stringprep.in_table_d2, text)) and all(map(stringprep.in_table_d1, (text[0], text[-1])))
