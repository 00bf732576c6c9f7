"""Everything that python-etcd can do with keys, told in lines that are the same for every etcd at the same index."""

import sys
import threading
import time

import etcd

host, port, username, password = sys.argv[1:]
client = etcd.Client(
    host=host, port=int(port), username=username, password=password, allow_reconnect=False, read_timeout=10
)


def tell(name, work, left_out=("expiration", "ttl", "raft_index", "_prev_node", "_children")):
    """Prints what comes of it, an error by its kind and its words."""
    try:
        result = work()
    except etcd.EtcdException as error:
        # What is said of a connection names its port.
        words = "" if isinstance(error, etcd.EtcdConnectionFailed) else error
        print(name, "fails:", type(error).__name__, words)
        return None
    if isinstance(result, etcd.EtcdResult):
        shown = {name: value for name, value in vars(result).items() if name not in left_out}
        before = getattr(result, "_prev_node", None)
        before = before and (before.key, before.value)
        print(name, sorted(shown.items()), before)
        for leaf in sorted(result.leaves, key=lambda leaf: leaf.key):
            print("   ", leaf.key, repr(leaf.value), leaf.dir, bool(leaf.ttl), leaf.modifiedIndex, leaf.createdIndex)
    else:
        print(name, result)
    return result


def later(work):
    """Does it while somebody waits."""

    def run():
        time.sleep(0.3)
        work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


tell("read nothing", lambda: client.read("/none"))
tell("write", lambda: client.write("/p/a", "ä b&c=d;e+f"))
tell("read", lambda: client.read("/p/a"))
tell("get", lambda: client.get("/p/a"))
tell("contains", lambda: ("/p/a" in client, "/p/z" in client))
tell("create", lambda: client.write("/p/a", 1, prevExist=False))
tell("update", lambda: client.write("/p/a", 2, prevExist=True))
tell("set with ttl", lambda: client.set("/p/t", 1, ttl=100))
tell("ttl", lambda: client.get("/p/t").ttl in (99, 100))
tell("refresh", lambda: client.refresh("/p/t", 200))
tell("refresh nothing", lambda: client.refresh("/p/none", 200))
tell("append", lambda: client.write("/p/queue", "first", append=True))
tell("append", lambda: client.write("/p/queue", "second", append=True))
tell("make a directory", lambda: client.write("/p/dir", None, dir=True))
tell("again", lambda: client.write("/p/dir", None, dir=True))
tell("swap", lambda: client.test_and_set("/p/a", 3, 2))
tell("swap what is not so", lambda: client.test_and_set("/p/a", 4, 2))
tell("swap by index", lambda: client.write("/p/a", 5, prevIndex=client.read("/p/a").modifiedIndex))
tell("swap by wrong index", lambda: client.write("/p/a", 5, prevIndex=1))
found = client.read("/p/a")
found.value = "by update"
tell("update a result", lambda: client.update(found))
tell("update it again", lambda: client.update(found))
tell("list", lambda: client.read("/p", recursive=True, sorted=True))
tell("list with a quorum", lambda: client.read("/p", sorted=True, quorum=True))
tell("write below a value", lambda: client.write("/p/a/b", 1))
tell("write a directory", lambda: client.write("/p/dir", 1))
tell("delete a directory", lambda: client.delete("/p/queue"))
tell("delete what is not empty", lambda: client.delete("/p/queue", dir=True))
tell("delete by comparison", lambda: client.delete("/p/a", prevValue="x"))
tell("pop", lambda: client.pop("/p/a"))
tell("the root", lambda: client.delete("/", recursive=True))

thread = later(lambda: client.write("/p/w", "news"))
tell("watch", lambda: client.watch("/p/w"))
thread.join()
index = client.read("/p/w").modifiedIndex
tell("watch the past", lambda: client.watch("/p", index=index, recursive=True))
tell("watch what was cleared", lambda: client.read("/p", wait=True, waitIndex=0, timeout=1))


def write_three():
    for number in range(3):
        client.write("/p/w/%d" % number, number)


client.delete("/p/w")
thread = later(write_three)
seen = 0
for event in client.eternal_watch("/p/w", recursive=True):
    # How far the store had come when it was asked depends on who was faster.
    tell("eternal watch", lambda: event, left_out=("etcd_index", "raft_index", "_prev_node", "_children"))
    seen += 1
    if seen == 3:
        break
thread.join()

lock = etcd.Lock(client, "lock")
other = etcd.Lock(client, "lock")
print("lock", lock.acquire(blocking=True, lock_ttl=100), lock.is_acquired)
print("other", other.acquire(blocking=False, lock_ttl=100), other.is_acquired)
thread = later(lock.release)
print("other", other.acquire(blocking=True, lock_ttl=100, timeout=5), other.is_acquired, lock.is_acquired)
thread.join()
other.release()
tell("locks", lambda: [leaf.key for leaf in client.read("/_locks/lock").leaves if leaf.value])

tell("delete", lambda: client.delete("/p", recursive=True, dir=True))
tell("members", lambda: [sorted(member) for member in client.members.values()])
tell("leader", lambda: sorted(client.leader))
tell("stats", lambda: sorted(client.store_stats))
tell("leader's stats", lambda: sorted(client.leader_stats))
tell("version", lambda: client.version.split(".")[:2])
