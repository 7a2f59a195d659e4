#!/usr/bin/env python3
"""Measures what `sync_interval` costs on a disk: acknowledged messages a second and the latency of acknowledgements, with a real nats-server.

usage: sync-cost.py NATS_SERVER FOLDER   (FOLDER is on the disk of the store)
"""
import os
import socket
import subprocess
import sys
import tempfile
import time

CHOICES = ["always", "100ms", "2s", "2m"]
SECONDS = 5
PAYLOAD = b"x" * 300


def connect(port):
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            time.sleep(0.05)
    sys.exit("nats-server does not answer")


def measure(server, folder, interval, window):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(dir=folder) as store:
        config = os.path.join(store, "nats.conf")
        with open(config, "w") as file:
            file.write(f"listen: 127.0.0.1:{port}\njetstream {{ store_dir: '{store}/js', sync_interval: {interval} }}\n")
        process = subprocess.Popen([server, "-c", config], stderr=subprocess.DEVNULL)
        try:
            return publish(connect(port), window)
        finally:
            process.terminate()
            process.wait()


def publish(connection, window):
    lines = connection.makefile("rb")
    create = b'{"name":"S","subjects":["s"],"storage":"file","duplicate_window":120000000000}'
    connection.sendall(
        b'CONNECT {"verbose":false}\r\nSUB r 1\r\nPUB $JS.API.STREAM.CREATE.S r %d\r\n%s\r\n' % (len(create), create)
    )
    sent, latencies = [], []
    message = b"PUB s r %d\r\n%s\r\n" % (len(PAYLOAD), PAYLOAD)
    begun = None
    while True:
        line = lines.readline()
        if line.startswith(b"PING"):
            connection.sendall(b"PONG\r\n")
        if not line.startswith(b"MSG"):
            continue
        lines.readline()
        now = time.perf_counter()
        if begun is None:
            begun = now
        else:
            latencies.append(now - sent.pop(0))
        if now - begun > SECONDS:
            latencies.sort()
            return len(latencies) / (now - begun), latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
        batch = window - len(sent) if len(sent) <= window // 2 else 0
        sent.extend([now] * batch)
        connection.sendall(message * batch)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print("sync_interval  in flight  messages/s     p50 ms     p99 ms")
    for interval in CHOICES:
        for window in [1, 1024]:
            rate, median, late = measure(sys.argv[1], sys.argv[2], interval, window)
            print(f"{interval:>13}  {window:>9}  {rate:>10.0f}  {median * 1e3:>9.2f}  {late * 1e3:>9.2f}")
