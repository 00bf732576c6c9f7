"""Lets schemathesis read the official description with the amendments that the test names; see amendments.rs."""

import json
import os

import schemathesis


def children(node, segment):
    """The keys of a node that a segment means: a name, names with | between them, [name] in a list, or *."""
    if isinstance(node, list):
        wanted = segment.strip("[]")
        return [index for index, item in enumerate(node) if isinstance(item, dict) and item.get("name") == wanted]
    if not isinstance(node, dict):
        return []
    if segment == "*":
        return list(node)
    return [name for name in segment.split("|") if name in node]


def amend(node, path, value):
    """Sets what the path leads to, and tells how often."""
    first, *rest = path
    if not rest:
        node[first] = value
        return 1
    return sum(amend(node[key], rest, value) for key in children(node, first))


@schemathesis.hook
def before_load_schema(_context, raw_schema):
    for entry in json.loads(os.environ["PATRONI_BROKER_TEST_AMENDMENTS"]):
        # One that hits nothing is out of date.
        if not amend(raw_schema, entry["at"], entry["is"]):
            raise SystemExit(f"the description has nothing at {entry['at']}")
