"""What one instance carries, for docs/scaling.md: so many accounts with four integrations of ten connections each."""

import pathlib
import statistics
import sys
import time

from load import ROUNDS, one
from programs import Daemon, Simulator

MIB = 1024 * 1024
INTEGRATIONS, CONNECTIONS = 4, 10
# The default interval is five times as long.
INTERVAL = 60
# Between scrapes: it brings the changes of 15 s at the default interval.
PAUSE = 3


def paced(address, gzip):
    """What scrapes take, each after others of its encoding, as a Prometheus asks."""
    one(address, gzip)
    for _ in range(ROUNDS):
        time.sleep(PAUSE)
        yield one(address, gzip)


class Instance(Daemon):
    """Every account lists the same integrations, within the default budget, and its polls are spread evenly."""

    @staticmethod
    def configuration(simulator, interval, accounts, entities, targets):
        # The first polls are spread over a whole interval, so that the later ones are, too.
        lines = ["poll:", f"  interval: {interval}", f"  first_poll_within: {interval}", "zis:"]
        integrations = [f"      - name: {name}\n        token_env: {env}" for name, env in simulator.integrations]
        for account in range(accounts):
            lines += [f"  - account: account_{account}", f"    base_url: http://{simulator.address}", "    integrations:", *integrations]
        return "\n".join(lines) + "\n"


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    print("| accounts | series | start to ready | resident memory | CPU, each target once a minute | page, plain and gzip | a scrape, plain and gzip |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for accounts in map(int, sys.argv[2:]):
        with Simulator(binary, INTEGRATIONS, CONNECTIONS) as simulator:
            with Instance(binary, simulator, f"{INTERVAL}s", accounts) as daemon:
                ready = time.monotonic() - daemon.begun
                # The first polls are behind, and nobody scrapes.
                time.sleep(INTERVAL / 2)
                before = daemon.cpu()
                time.sleep(INTERVAL)
                cpu = (daemon.cpu() - before) / INTERVAL
                plain, gzip = daemon.page(), daemon.page(gzip=True)
                series = sum(not line.startswith(b"#") for line in plain.splitlines())
                scrapes = [statistics.median(paced(daemon.address, gzip)) for gzip in (False, True)]
                memory = statistics.median(daemon.memory() for _ in range(ROUNDS))
                print(
                    f"| {accounts:,} | {series:,} | {ready:.0f} s | {memory / MIB:.0f} MiB | {cpu * 100:.1f} % of a core "
                    f"| {len(plain) / MIB:.0f} and {len(gzip) / MIB:.1f} MiB | {scrapes[0] * 1e3:.0f} and {scrapes[1] * 1e3:.0f} ms |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
