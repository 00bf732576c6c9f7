#!/usr/bin/env python3
"""How long honest requests take while other connections trickle bytes of a request's head.

    trickle.py HOST PORT PATH USER:PASSWORD CONNECTIONS SECONDS

Prints two lines, "before" and "during", of p50, p99 and the longest in milliseconds, how many requests were answered,
and how many were not (within 10 s). Ends by itself.
"""

import base64
import http.client
import resource
import socket
import sys
import threading
import time

PATIENCE_S = 10
CLIENTS = 4
EVERY_S = 0.5


def ask(host, port, path, authorization):
    """One request on a connection of its own: its milliseconds, or None."""
    begun = time.monotonic()
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path, headers={"Authorization": authorization, "X-Broker-API-Version": "2.17"})
        answer = connection.getresponse()
        answer.read()
        return (time.monotonic() - begun) * 1000 if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def honest(seconds, *where):
    """What a few clients see that ask one request after the other, each on a new connection."""
    took, failed, until = [], [], time.monotonic() + seconds

    def client():
        while time.monotonic() < until:
            milliseconds = ask(*where)
            (failed if milliseconds is None else took).append(milliseconds)
            time.sleep(0.02)

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    took.sort()
    at = lambda part: took[min(len(took) - 1, int(len(took) * part))] if took else float("nan")
    return f"{at(0.5):.1f} {at(0.99):.1f} {at(1):.1f} {len(took)} {len(failed)}"


class Tricklers:
    """Connections that each send one more byte of a head that never ends, now and then, until they are stopped."""

    def __init__(self, host, port, count):
        self.sockets, self.refused, self.ended = [], 0, 0
        for _ in range(count):
            try:
                opened = socket.create_connection((host, port), timeout=1)
                opened.sendall(b"GET / HTTP/1.1\r\nHost: trickle\r\nX-")
                opened.setblocking(False)
                self.sockets.append(opened)
            except OSError:
                self.refused += 1
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.trickle)
        self.thread.start()

    def trickle(self):
        while not self.stopping.wait(EVERY_S):
            for opened in list(self.sockets):
                try:
                    opened.send(b"a")
                except BlockingIOError:
                    pass
                except OSError:
                    self.sockets.remove(opened)
                    self.ended += 1
                    opened.close()

    def stop(self):
        self.stopping.set()
        self.thread.join()
        for opened in self.sockets:
            opened.close()
        return f"{len(self.sockets)} open, {self.ended} ended by the server, {self.refused} refused"


def main():
    host, port, path, credentials, count, seconds = sys.argv[1:]
    wanted = int(count) + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    authorization = "Basic " + base64.b64encode(credentials.encode()).decode()
    where = (host, int(port), path, authorization)
    print("before", honest(float(seconds), *where), flush=True)
    tricklers = Tricklers(host, int(port), int(count))
    try:
        print("during", honest(float(seconds), *where), flush=True)
    finally:
        print("tricklers at the end:", tricklers.stop(), flush=True)


if __name__ == "__main__":
    main()
