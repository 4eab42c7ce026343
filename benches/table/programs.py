"""Starts what is measured and what it is compared with, on loopback, and ends them again."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 120  # seconds for anything that is waited for


class Failed(Exception):
    """Nothing more can be measured."""


def wait_for(what, condition, patience=PATIENCE, pause=0.02):
    """The first true value of the condition."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(pause)
    raise Failed(f"waited {patience} s in vain for {what}")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def get(address, path, headers=None, method="GET", body=None):
    """The body of an answer, as it was sent."""
    request = urllib.request.Request(f"http://{address}{path}", headers=headers or {}, method=method, data=body)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read()


class Program:
    """A process that ends with its `with` block, and a folder of its own."""

    def __init__(self, command, env=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-"))
        self.command, self.env, self.process = command, env, None

    def __enter__(self):
        self.log = open(self.folder / "log", "w+")
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [str(part) for part in self.command], env=self.env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )
        try:
            self.ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder)

    def said(self, pattern):
        """What a line of its log says."""
        if self.process.poll() is not None:
            raise Failed(f"{self.command[0]} ended: {(self.folder / 'log').read_text()[-2000:]}")
        found = re.search(pattern, (self.folder / "log").read_text())
        return found and found[1]

    def answers(self, path):
        if self.process.poll() is not None:
            raise Failed(f"{self.command[0]} ended: {(self.folder / 'log').read_text()[-2000:]}")
        try:
            return get(self.address, path) is not None
        except OSError:
            return False

    def pids(self):
        """The process and its children."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]

    def cpu(self):
        """Seconds of processor time, user and system, so far."""
        total = 0
        for pid in self.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def memory(self):
        """Resident bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


class Simulator(Program):
    """Both APIs in miniature. By default only ZIS, and no token that ends."""

    def __init__(self, binary, integrations, connections, tokens=0, entities=0, edges=0):
        sizes = {
            "entities": entities,
            "entity-connections": edges,
            "integrations": integrations,
            "integration-connections": connections,
        }
        if tokens is not None:
            sizes["integration-tokens"] = tokens
        flags = [f"--simulator.{name}={size}" for name, size in sizes.items()]
        super().__init__([binary, "simulate", "--simulator.listen-address=127.0.0.1:0", *flags])

    def ready(self):
        self.address = wait_for("the simulator", lambda: self.said(r"API is at http://([0-9.:]+);"))
        wait_for("the simulator's configuration", lambda: self.answers("/simulator"))
        text = (self.folder / "log").read_text()
        self.secrets = dict(re.findall(r"export (\w+)=(\w+)", text))
        self.integrations = re.findall(r"- name: (\w+)\n\s+token_env: (\w+)", text)
        self.client_id = (re.findall(r"client_id: (\w+)", text) or [None])[0]


class Daemon(Program):
    """The exporter, polling a simulator. `accounts`: how many the integrations are dealt to in turn."""

    def __init__(self, binary, simulator, interval="1h", accounts=1, entities=(), targets=None, level="warn"):
        self.simulator = simulator
        super().__init__([], dict(os.environ, **simulator.secrets))
        config = self.folder / "config.yaml"
        config.write_text(self.configuration(simulator, interval, accounts, entities, targets))
        self.command = [binary, f"--config.file={config}", "--web.listen-address=127.0.0.1:0", f"--log.level={level}"]
        self.port = free_port()
        self.command[2] = f"--web.listen-address=127.0.0.1:{self.port}"
        self.address = f"127.0.0.1:{self.port}"

    @staticmethod
    def configuration(simulator, interval, accounts, entities, targets):
        lines = ["poll:", f"  interval: {interval}", "  first_poll_within: 0s"]
        common = [f"    base_url: http://{simulator.address}", "    requests_per_minute: 60000"]
        if entities:
            lines += ["zuora:", "  - account: production", *common, f"    client_id: {simulator.client_id}"]
            lines += ["    client_secret_env: ZUORA_SECRET", "    entities:"]
            lines += [f"      - id: {entity}\n        name: entity_{n}" for n, entity in enumerate(entities)]
        integrations = simulator.integrations[:targets]
        lines += ["zis:"] if integrations else []
        for account in range(accounts):
            lines += [f"  - account: account_{account}", *common, "    integrations:"]
            lines += [f"      - name: {name}\n        token_env: {env}" for name, env in integrations[account::accounts]]
        return "\n".join(lines) + "\n"

    def ready(self):
        """Whether every target was polled is asked where it costs the daemon nothing but the answer."""
        wait_for("the daemon's targets", lambda: self.answers("/-/ready"), pause=0.05)

    def page(self, gzip=False, openmetrics=False):
        headers = {"Accept-Encoding": "gzip"} if gzip else {}
        if openmetrics:
            headers["Accept"] = "application/openmetrics-text"
        return get(self.address, "/metrics", headers)

    def value(self, metric):
        """The sum of a metric's samples."""
        lines = self.page().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(metric + r"[{ ]", line))


class Nginx(Program):
    """One worker that serves a page's bytes as static files, as Debian configures it but for the log."""

    def __init__(self, program, plain, gzip):
        super().__init__([])
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        (self.folder / "metrics").write_bytes(plain)
        (self.folder / "metrics.gz").write_bytes(gzip)
        places = "".join(f"{place}_temp_path {place};" for place in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.folder / "nginx.conf").write_text(
            f"""
            worker_processes 1; daemon off; pid nginx.pid; error_log stderr;
            {"user root;" if os.getuid() == 0 else ""}
            events {{ worker_connections 64; }}
            http {{
                sendfile on; tcp_nopush on; access_log off; keepalive_timeout 65; keepalive_requests 1000000000;
                default_type text/plain; gzip_static on; {places}
                server {{ listen {self.address}; root {self.folder}; }}
            }}"""
        )
        self.command = [program, "-p", self.folder, "-c", self.folder / "nginx.conf", "-e", "stderr"]

    def ready(self):
        wait_for("nginx", lambda: self.answers("/metrics"))


class Pushgateway(Program):
    """The Pushgateway, holding the series of a page."""

    def __init__(self, program, page):
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        # It has these of itself already.
        lines = [line for line in page.decode().splitlines(keepends=True) if b"process_" not in line.encode()]
        self.pushed = "".join(lines).encode()
        super().__init__([program, f"--web.listen-address={self.address}", "--log.level=warn"])

    def ready(self):
        wait_for("the Pushgateway", lambda: self.answers("/-/ready"))
        get(self.address, "/metrics/job/bench", method="PUT", body=self.pushed)
