"""Writing files so that nobody ever reads half of one, or reads one that is not meant for him."""

import json
import os

# JSON is YAML, but for these characters, which JSON leaves as they are and YAML readers refuse.
_REFUSED_BY_YAML = [*range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF]
_ESCAPES = {code: f"\\u{code:04x}" for code in _REFUSED_BY_YAML}


def write_atomically(path: str, content: str, mode: int) -> None:
    """Replaces a file as a whole, or not at all, and returns once it is on the disk."""
    temporary = f"{path}.new"
    try:
        os.unlink(temporary)
    except FileNotFoundError:
        pass
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def as_yaml(document: object) -> str:
    """A document that a YAML reader takes, whatever characters its strings hold."""
    # Not ensure_ascii: it writes characters beyond U+FFFF as two halves, which YAML takes for two characters.
    return json.dumps(document, ensure_ascii=False, indent=2).translate(_ESCAPES)
