"""The rows of the table, each a measurement against what it must reach."""

import dataclasses
import json
import re
import resource
import statistics
import subprocess
import time
import urllib.parse

from instance import Instance, paced
from load import ROUNDS, Scraper, in_turn, one, per_second, percentile
from programs import Daemon, Failed, Nginx, Pushgateway, Simulator, get, wait_for

MIB = 1024 * 1024
# Numbers of connections that make more than 100,000 series of 200 targets: without tokens, and with one in each.
TARGETS, WITHOUT_TOKEN, WITH_TOKEN = 200, 161, 100


@dataclasses.dataclass
class Row:
    what: str
    ours: str
    against: str
    ratio: float
    goal: float
    most: bool = True  # whether the goal is the most that is allowed, or the least

    @property
    def reached(self):
        return self.ratio <= self.goal if self.most else self.ratio >= self.goal


def scrape_against_nginx(tools):
    """Answers a second, and beside them what one costs the server's processor."""
    with Simulator(tools.daemon, TARGETS, WITHOUT_TOKEN) as simulator, Daemon(tools.daemon, simulator) as daemon:
        plain, gzip = daemon.page(), daemon.page(gzip=True)
        series = sum(not line.startswith(b"#") for line in plain.splitlines())
        with Nginx(tools.nginx, plain, gzip) as nginx:
            for encoding, goal in (("plain", 1.0), ("gzip", 0.9)):
                costs = {}

                def measure(program):
                    before = program.cpu()
                    rate = per_second(program.address, encoding == "gzip")
                    costs.setdefault(program, []).append((program.cpu() - before) / (rate * 2) * 1e3)
                    return rate

                ours, theirs = in_turn([lambda: measure(daemon), lambda: measure(nginx)])
                cpu = {program: statistics.median(values) for program, values in costs.items()}
                size = len(plain if encoding == "plain" else gzip) / MIB
                yield Row(
                    f"scrape, {encoding}, {series:,} series in {TARGETS} targets ({size:.1f} MiB), no live tail",
                    f"{ours:.0f} a second (CPU {cpu[daemon]:.2f} ms each)",
                    f"nginx: {theirs:.0f} a second (CPU {cpu[nginx]:.2f} ms each)",
                    ours / theirs,
                    goal,
                    most=False,
                )


def full_page_against_pushgateway(tools):
    """Time of one scrape, and memory, with the same series in both."""
    with (
        Simulator(tools.daemon, TARGETS, WITH_TOKEN, tokens=WITH_TOKEN) as simulator,
        Daemon(tools.daemon, simulator) as daemon,
    ):
        page = daemon.page()
        series = sum(not line.startswith(b"#") for line in page.splitlines())
        tokens = page.count(b"\nsaas_connection_token_expires_in_seconds{")
        with Pushgateway(tools.pushgateway, page) as pushgateway:
            for gzip in (False, True):
                ours, theirs = in_turn([lambda: one(daemon.address, gzip), lambda: one(pushgateway.address, gzip)])
                yield Row(
                    f"one scrape, {'gzip' if gzip else 'plain'}, {series:,} series, {tokens:,} tokens in the tail",
                    f"{ours * 1e3:.1f} ms",
                    f"Pushgateway: {theirs * 1e3:.0f} ms",
                    theirs / ours,
                    20,
                    most=False,
                )
            # `ours` is the time of the gzip scrape, which was measured last.
            yield Row("the same, gzip, in milliseconds", f"{ours * 1e3:.1f} ms", "–", ours * 1e3, 1)
            ours, theirs = daemon.memory() / MIB, pushgateway.memory() / MIB
            yield Row(f"resident memory, {series:,} series", f"{ours:.1f} MiB", f"Pushgateway: {theirs:.0f} MiB", ours / theirs, 0.25)


def openmetrics_against_text(tools):
    """Time of one scrape in both formats, and the memory of a daemon that is scraped in one of them."""
    with Simulator(tools.daemon, TARGETS, WITHOUT_TOKEN) as simulator:
        memory = []
        for openmetrics in (False, True):
            with Daemon(tools.daemon, simulator) as daemon:
                for gzip in (False, True):
                    daemon.page(gzip, openmetrics)
                memory.append(daemon.memory())
        with Daemon(tools.daemon, simulator) as daemon:
            for gzip in (False, True):
                with Scraper(daemon.address, gzip) as text, Scraper(daemon.address, gzip, openmetrics=True) as openmetrics:
                    measure = lambda scraper: statistics.median(scraper.paced(100, 0.001))
                    ours, theirs = in_turn([lambda: measure(openmetrics), lambda: measure(text)])
                yield Row(
                    f"one scrape, {'gzip' if gzip else 'plain'}, as OpenMetrics",
                    f"{ours * 1e3:.2f} ms",
                    f"text format: {theirs * 1e3:.2f} ms",
                    ours / theirs,
                    1.05,
                )
        text, openmetrics = (bytes_ / MIB for bytes_ in memory)
        yield Row(
            "resident memory, scraped as OpenMetrics, plain and gzip",
            f"{openmetrics:.1f} MiB",
            f"text format: {text:.1f} MiB",
            openmetrics / text,
            1.02,
        )


def scrape_while_publishing(tools):
    """The 99th percentile of 200 scrapes, 10 ms apart, at rest and while each of 200 targets is polled every 4 s."""
    polls = "connections_exporter_polls_total"
    taken = {}
    for interval in ("1h", "4s"):
        with (
            Simulator(tools.daemon, TARGETS, WITHOUT_TOKEN) as simulator,
            Daemon(tools.daemon, simulator, interval=interval) as daemon,
        ):
            for gzip in (False, True):
                before, begun = daemon.value(polls), time.monotonic()
                with Scraper(daemon.address, gzip) as scraper:
                    rounds = [scraper.paced(200, 0.01) for _ in range(ROUNDS)]
                slow, usual = (statistics.median(percentile(times, part) for times in rounds) * 1e3 for part in (0.99, 0.5))
                rate = (daemon.value(polls) - before) / (time.monotonic() - begun)
                taken[interval, gzip] = slow, f"{slow:.2f} ms (median {usual:.2f} ms)", rate
    for gzip in (False, True):
        (still, at_rest, _), (moved, publishing, rate) = taken["1h", gzip], taken["4s", gzip]
        yield Row(
            f"p99 of a scrape, {'gzip' if gzip else 'plain'}, while {TARGETS} targets publish {rate:.0f} times a second",
            publishing,
            f"at rest: {at_rest}",
            moved / still,
            1.5,
        )


def refresh_against_curl(tools):
    """CPU time to refresh 10,000 ZIS connections, mean of 15: with nothing changed; with another one instead of one of them
    each time, so that every long family is rendered and deflated again; and with a token in each that was renewed."""
    pages, rounds, interval = 100, 15, 1
    with Simulator(tools.daemon, 1, 100 * pages - 1, tokens=None) as simulator:
        name, env = simulator.integrations[0]

        def change(method, number, rest=""):
            get(simulator.address, f"/simulator/connections?target={name}&connection=zzz_{number}{rest}", method=method)

        def every(change):
            get(simulator.address, f"/simulator/connections?target={name}&{change}", method="PUT")

        def renewed(number):
            every(f"token_expiry=2100-01-01T00:00:{number:02}Z")

        def another(number):
            change("PUT", number, "&type=oauth&refresh_token=true&token_expiry=2100-01-01T00:00:00Z")
            if number:
                change("DELETE", number - 1)

        # No token expires, and is renewed, by itself.
        renewed(0)
        another(0)
        url = f"http://{simulator.address}/api/services/zis/integrations/{name}/connections/all?page%5Bsize%5D=100"
        urls = [f"{url}&page%5Bafter%5D=c-{100 * page:x}" for page in range(pages)]
        command = ["curl", "--silent", "--fail", "--compressed", "--header", f"Authorization: Bearer {simulator.secrets[env]}"]

        def curl(urls):
            used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
            before = used()
            outputs = [part for url in urls for part in (url, "--output", "/dev/null")]
            subprocess.run([*command, *outputs], check=True, timeout=60)
            return (used() - before) * 1e3

        measured = []
        with Daemon(tools.daemon, simulator, interval=f"{interval}s") as daemon:
            polls = lambda: daemon.value("connections_exporter_polls_total")

            def refresh(between):
                begun = polls()
                # Between two polls: the next is due a whole interval after the first.
                wait_for("the next poll", lambda: polls() > begun)
                time.sleep(interval / 3)
                first, before, began = polls(), daemon.cpu(), time.monotonic()
                for number in range(1, rounds + 1):
                    between(number)
                    time.sleep(began + number * interval - time.monotonic())
                spent = daemon.cpu() - before
                refreshed = polls() - first
                if refreshed != rounds:
                    raise Failed(f"{refreshed:.0f} refreshes instead of {rounds}")
                return spent / rounds * 1e3

            for what, between, goal in (
                ("nothing changed", lambda _: None, 1.3),
                ("one is another", another, 3),
                ("every row has a token, which was renewed", renewed, 2),
            ):
                if between == renewed:
                    every("type=oauth")
                ours = refresh(between)
                measured.append((what, ours, statistics.mean(curl(urls) for _ in range(rounds)), goal))
            start = statistics.mean(curl(urls[:1]) for _ in range(rounds))
    for what, ours, theirs, goal in measured:
        yield Row(
            f"CPU time to refresh 10,000 ZIS connections over 100 pages, {what}",
            f"{ours:.0f} ms",
            f"curl: {theirs:.0f} ms (with one page only: {start:.0f} ms)",
            ours / theirs,
            goal,
        )


def small_and_old(tools, seconds):
    """Memory of two targets: as many polls as an hour has at the default interval of 5 minutes, and more."""
    with (
        Simulator(tools.daemon, 1, 10, tokens=None, entities=5, edges=14) as simulator,
        Daemon(tools.daemon, simulator, interval="1s", entities=entities(simulator)[:1]) as daemon,
    ):
        with Scraper(daemon.address, gzip=True) as scraper:
            scraper.paced(seconds, 1)
        polls = daemon.value("connections_exporter_polls_total")
        memory = daemon.memory() / MIB
    yield Row(f"resident memory, two targets, after {polls:.0f} polls and {seconds} scrapes", f"{memory:.1f} MiB", "–", memory, 10)


def entities(simulator):
    return re.findall(r'"id":"(\w{32})","name":"\w+","provisioned":true', get(simulator.address, "/simulator").decode())


def vendor_requests(tools):
    """Requests that the simulator saw for one refresh of everything."""
    integrations, connections, edges = 20, 250, 2900
    with Simulator(tools.daemon, integrations, connections, entities=5, edges=edges) as simulator:
        ids = entities(simulator)
        with Daemon(tools.daemon, simulator, entities=ids) as daemon:
            rows = [daemon.value(f'saas_connections{{system="zuora",account="production",target="entity_{n}".*') for n in range(len(ids))]
        asked = re.search(r'"requests":\{([^}]*)\}', get(simulator.address, "/simulator").decode())[1]
    requests = sum(map(int, re.findall(r":(\d+)", asked)))
    # 100 rows are the largest page of ZIS, 300 that of Zuora, which also takes a token and lists its entities.
    pages = integrations * -(-connections // 100) + sum(-(-int(count) // 300) for count in rows) + 1
    yield Row("vendor requests for a full refresh", f"{requests}", f"{pages} pages and 1 token", requests / (pages + 1), 1)


def growth(tools):
    """A publish of one target, and a scrape by its bytes, with a hundred times as many series in the inventory."""
    said = subprocess.run(tools.growth, capture_output=True, text=True, check=True, timeout=300).stdout
    few, many = ([float(value) for value in line.split()] for line in said.splitlines())
    for how, small, large in zip(("one after another", "each after a page"), few[1:], many[1:]):
        yield Row(
            f"publish of one target of 100 connections, {how}: {many[0]:,.0f} series in the inventory",
            f"{large:.0f} µs",
            f"{few[0]:,.0f}: {small:.0f} µs",
            large / small,
            1.2,
        )
    taken = []
    for connections in (WITHOUT_TOKEN // 10, WITHOUT_TOKEN * 10):
        with (
            Simulator(tools.daemon, TARGETS, connections) as simulator,
            Daemon(tools.daemon, simulator) as daemon,
            Scraper(daemon.address) as scraper,
        ):
            size = len(daemon.page())
            taken.append((size, statistics.median(scraper.paced(20, 0.01))))
    (few, fast), (many, slow) = taken
    yield Row(
        f"plain scrape of {many / MIB:.0f} MiB, by its bytes",
        f"{slow * 1e3:.1f} ms, {slow / many * 1e9 :.2f} ns a byte",
        f"{few / MIB:.1f} MiB: {fast * 1e3:.2f} ms, {fast / few * 1e9:.2f} ns a byte",
        (slow / many) / (fast / few),
        1.2,
    )


def held_by_polls(tools):
    """What a scrape waits for at most while targets are polled: the CPU time until the event loop is idle again."""
    said = subprocess.run(tools.event_loop, capture_output=True, text=True, check=True, timeout=600).stdout
    for line in said.splitlines():
        load, figures = line.rsplit(": ", 1)
        count, median, part, longest = map(int, figures.split())
        yield Row(
            f"event loop busy with polls, 99.9th percentile of periods, {load}",
            f"{part / 1e3:.2f} ms (median {median / 1e3:.2f} ms, longest of {count} {longest / 1e3:.1f} ms)",
            "–",
            part / 1e3,
            1,
        )


def start(tools):
    """From the start of the process to the first page that shows both targets."""
    def measure():
        with Simulator(tools.daemon, 1, 10, tokens=None, entities=5, edges=14) as simulator:
            daemon = Daemon(tools.daemon, simulator, entities=entities(simulator)[:1])
            daemon.ready = lambda: wait_for(
                "the first complete page",
                lambda: daemon.answers("/metrics") and daemon.page().count(b"\nconnections_exporter_target_up{") == 2,
                pause=0.001,
            )
            with daemon:
                return (time.monotonic() - daemon.begun) * 1e3

    taken = statistics.median(measure() for _ in range(ROUNDS))
    yield Row("from start to the first complete page, two targets", f"{taken:.0f} ms", "–", taken, 150)


def first_start(tools):
    """From the start of the process to the answer that it is healthy, with very many accounts and an empty state directory."""
    accounts = 2500
    with Simulator(tools.daemon, accounts, 10) as simulator:
        def measure(with_state):
            daemon = Daemon(tools.daemon, simulator, accounts=accounts)
            if with_state:
                daemon.command.append(f"--state.dir={daemon.folder / 'state'}")
            daemon.ready = lambda: wait_for("health", lambda: daemon.answers("/-/healthy"), pause=0.001)
            with daemon:
                return time.monotonic() - daemon.begun

        ours, theirs = in_turn([lambda: measure(True), lambda: measure(False)])
    yield Row(
        f"from the first start with a state directory to /-/healthy, {accounts:,} accounts",
        f"{ours * 1e3:.0f} ms",
        f"without one: {theirs * 1e3:.0f} ms",
        ours / theirs,
        1.2,
    )


def many_accounts(tools):
    """One scrape of a thousand accounts, and of ten with as many series."""
    with Simulator(tools.daemon, 1000, 10) as thousand, Daemon(tools.daemon, thousand, accounts=1000) as many:
        lines = lambda daemon: [line for line in daemon.page().splitlines() if not line.startswith(b"#")]
        count = lambda daemon: len(lines(daemon))
        series = count(many)
        # Connections of each of the ten accounts, with which both pages have the same number of series.
        of_connections = sum(b'connection="' in line for line in lines(many)) / 10_000
        besides = (series - of_connections * 10_000) / 1000
        connections = round((series - 10 * besides) / (10 * of_connections))
        with Simulator(tools.daemon, 10, connections) as ten, Daemon(tools.daemon, ten, accounts=10) as few:
            for gzip in (False, True):
                with Scraper(many.address, gzip) as all_of_many, Scraper(few.address, gzip) as all_of_few:
                    measure = lambda scraper: statistics.median(scraper.paced(20, 0.01))
                    ours, theirs = in_turn([lambda: measure(all_of_many), lambda: measure(all_of_few)])
                yield Row(
                    f"one scrape, {'gzip' if gzip else 'plain'}, 1,000 accounts with one target of ten connections, {series:,} series",
                    f"{ours * 1e3:.2f} ms",
                    f"ten accounts, {count(few):,} series: {theirs * 1e3:.2f} ms",
                    ours / theirs,
                    1.5,
                )


def fleet(tools):
    """Memory of 5,000 accounts, scraped as one page or in the parts of `/sd`, and a scrape after a part of the targets was polled."""
    accounts, interval = 5000, 60

    def parts(daemon):
        for group in json.loads(get(daemon.address, "/sd")):
            labels = group["labels"]
            query = {name.removeprefix("__param_"): value for name, value in labels.items() if name.startswith("__param_")}
            get(daemon.address, f"{labels['__metrics_path__']}?{urllib.parse.urlencode(query)}", {"Accept-Encoding": "gzip"})

    with Simulator(tools.daemon, 4, 10) as simulator:
        polls = lambda: json.loads(get(simulator.address, "/simulator"))["requests"]["connections_all"]
        with Instance(tools.daemon, simulator, f"{interval}s", accounts) as daemon:
            time.sleep(interval)
            page = daemon.page()
            daemon.page(gzip=True)
            series = sum(not line.startswith(b"#") for line in page.splitlines())
            whole = daemon.memory() / MIB
            before = polls()
            taken = statistics.median(paced(daemon.address, gzip=True)) * 1e3
            part = (polls() - before) / ROUNDS / (4 * accounts)
        with Instance(tools.daemon, simulator, f"{interval}s", accounts) as daemon:
            time.sleep(interval)
            for _ in range(2):
                parts(daemon)
            in_parts = daemon.memory() / MIB
    what = f"{accounts:,} accounts of 4 targets of 10 connections, {series:,} series"
    yield Row(f"resident memory, {what}, after a plain and a gzip scrape", f"{whole:.0f} MiB", "–", whole, 500)
    yield Row(f"resident memory, {what}, scraped in parts", f"{in_parts:.0f} MiB", "–", in_parts, 400)
    yield Row(f"one scrape, gzip, {what}, {part:.1%} of the targets polled before", f"{taken:.0f} ms", "–", taken, 60)


def size(tools):
    bytes_ = tools.daemon.stat().st_size
    yield Row("release binary, stripped", f"{bytes_ / MIB:.1f} MiB", "–", bytes_ / MIB, 10)
