import os
import tempfile
import unittest

from patroni_node.address import Address, await_address, keep, load_kept
from patroni_node.stores import StoreUnavailable

KEY = "/postgresql-patroni/h:pb-n1"
KNOWN = {f"{KEY}:5432": "h:1", f"{KEY}:8008": "h:2"}
KEPT = Address("old:1", "old:2")


class World:
    """A store that changes with time, and a clock that only sleeping moves."""

    def __init__(self, *, known_after=None, down_until=0.0, entries=None):
        self.now = 0.0
        self.known_after = known_after
        self.down_until = down_until
        self.entries = KNOWN if entries is None else entries
        self.log = []

    def read(self, key):
        if self.now < self.down_until:
            raise StoreUnavailable("refused")
        if self.known_after is None or self.now < self.known_after:
            return None
        return self.entries.get(key)

    def sleep(self, seconds):
        self.now += seconds
        if self.now > 3600:
            raise TimeoutError

    def wait(self, kept=None):
        return await_address(self.read, KEY, kept, lambda: self.now, self.sleep, self.log.append)


class Waiting(unittest.TestCase):
    def test_known_at_once(self):
        world = World(known_after=0)
        self.assertEqual(world.wait(), Address("h:1", "h:2"))
        self.assertEqual((world.now, world.log), (0.0, []))

    def test_waits_for_ever_and_says_so(self):
        world = World()
        with self.assertRaises(TimeoutError):
            world.wait()
        self.assertGreater(len(world.log), 300)
        self.assertIn(f"no entry {KEY}:5432", world.log[-1])

    def test_waits_through_an_outage(self):
        world = World(known_after=0, down_until=120)
        self.assertEqual(world.wait(), Address("h:1", "h:2"))
        self.assertIn("does not answer (refused)", world.log[0])
        self.assertLess(world.now, 121)

    def test_half_an_answer_is_none(self):
        for entries in ({f"{KEY}:5432": "h:1"}, {**KNOWN, f"{KEY}:8008": "h"}, {**KNOWN, f"{KEY}:5432": "h:0"}):
            with self.subTest(entries), self.assertRaises(TimeoutError):
                World(known_after=0, entries=entries).wait()

    def test_the_kept_address_serves_in_an_outage(self):
        world = World(down_until=3600)
        self.assertEqual(world.wait(KEPT), KEPT)
        self.assertLess(world.now, 3)

    def test_the_store_knows_better_than_the_volume(self):
        self.assertEqual(World(known_after=1).wait(KEPT), Address("h:1", "h:2"))


class Keeping(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "address.json")

    def test_round_trip(self):
        keep(self.path, KEY, KEPT)
        self.assertEqual(load_kept(self.path, KEY), KEPT)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["address.json"])

    def test_a_volume_carried_to_another_node_keeps_nothing(self):
        keep(self.path, KEY, KEPT)
        self.assertIsNone(load_kept(self.path, "/postgresql-patroni/h:pb-n2"))

    def test_an_unreadable_file_keeps_nothing(self):
        for content in ("", "{", "[]", "{}", f'{{"registry_key": "{KEY}", "postgresql": "x", "rest_api": "h:1"}}'):
            with open(self.path, "w", encoding="utf-8") as file:
                file.write(content)
            self.assertIsNone(load_kept(self.path, KEY), content)
