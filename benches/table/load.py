"""Asks for pages and measures how long they take."""

import re
import socket
import statistics
import subprocess
import time

ROUNDS = 5


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def in_turn(measures, rounds=ROUNDS):
    """Medians of several measures, each taken once a round, so that a slow moment of the machine meets all of them."""
    taken = [[measure() for measure in measures] for _ in range(rounds)]
    return [statistics.median(values) for values in zip(*taken)]


def per_second(address, gzip, seconds=2):
    """Answers a second to one wrk thread with two kept connections."""
    command = ["wrk", "--threads=1", "--connections=2", f"--duration={seconds}s"]
    if gzip:
        command.append("--header=Accept-Encoding: gzip")
    said = subprocess.run([*command, f"http://{address}/metrics"], capture_output=True, text=True, check=True, timeout=60).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(said)
    return float(re.search(r"Requests/sec:\s+([0-9.]+)", said)[1])


def one(address, gzip):
    """Seconds of one scrape by curl, which reads the answer and does nothing with it."""
    command = ["curl", "--silent", "--fail", "--output", "/dev/null", "--write-out", "%{time_total}"]
    if gzip:
        command += ["--header", "Accept-Encoding: gzip"]
    done = subprocess.run([*command, f"http://{address}/metrics"], capture_output=True, text=True, check=True, timeout=60)
    return float(done.stdout)


class Scraper:
    """One kept connection, and the time of each scrape on it."""

    def __init__(self, address, gzip=False, openmetrics=False):
        host, _, port = address.partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accept = "Accept-Encoding: gzip\r\n" if gzip else ""
        accept += "Accept: application/openmetrics-text\r\n" if openmetrics else ""
        self.request = f"GET /metrics HTTP/1.1\r\nHost: {address}\r\n{accept}\r\n".encode()
        self.buffer = bytearray(1 << 20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def scrape(self):
        """Seconds from the request to the last byte."""
        begun = time.perf_counter()
        self.socket.sendall(self.request)
        read = self.socket.recv_into(self.buffer)
        head = bytes(self.buffer[:4096])
        end = head.index(b"\r\n\r\n") + 4
        left = int(re.search(rb"content-length: (\d+)", head[:end], re.IGNORECASE)[1]) + end - read
        while left > 0:
            read = self.socket.recv_into(self.buffer)
            if not read:
                raise RuntimeError("the connection ended before the answer did")
            left -= read
        return time.perf_counter() - begun

    def paced(self, times, pause):
        """So many scrapes, with a pause before each."""
        taken = []
        for _ in range(times):
            time.sleep(pause)
            taken.append(self.scrape())
        return taken
