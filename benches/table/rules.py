"""What rule files cost a Prometheus that scrapes one instance of the size in docs/scaling.md:

    python3 benches/table/rules.py DAEMON PROMETHEUS ACCOUNTS RULES...

The rule files are measured one after the other, and before them no rules at all: the difference is
what rules cost. It is CPU time, so another load on the machine changes little.
"""

import json
import pathlib
import sys
import time

from instance import CONNECTIONS, INTEGRATIONS, Instance
from programs import Program, Simulator, free_port, get, wait_for

# Seconds between two scrapes, and between two evaluations.
EVERY = 60
# The first evaluations see nothing, or fewer series.
BEFORE = 2
EVALUATIONS = 3


class Prometheus(Program):
    def __init__(self, binary, target, rules):
        self.address = f"127.0.0.1:{free_port()}"
        super().__init__([binary, f"--web.listen-address={self.address}"])
        self.command += [f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data"]
        configuration = {
            "global": {"scrape_interval": f"{EVERY}s", "scrape_timeout": "30s", "evaluation_interval": f"{EVERY}s"},
            "rule_files": [str(rules)] if rules else [],
            "scrape_configs": [{"job_name": "exporter", "static_configs": [{"targets": [target]}]}],
        }
        (self.folder / "prometheus.yml").write_text(json.dumps(configuration))

    def ready(self):
        wait_for("Prometheus", lambda: self.answers("/-/ready"))

    def slowest(self):
        """Names of the slowest rules in the last evaluation, the slowest first."""
        groups = json.loads(get(self.address, "/api/v1/rules"))["data"]["groups"]
        rules = sorted((rule["evaluationTime"], rule["name"]) for group in groups for rule in group["rules"])
        return ", ".join(name for _, name in reversed(rules[-3:]))


def main():
    daemon, prometheus = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
    accounts = int(sys.argv[3])
    print("| rules | accounts | CPU, with the scrape | rules alone, of a core | slowest |\n| --- | --- | --- | --- | --- |")
    with Simulator(daemon, INTEGRATIONS, CONNECTIONS) as simulator:
        with Instance(daemon, simulator, "300s", accounts) as instance:
            without = None
            for rules in [None, *map(pathlib.Path, sys.argv[4:])]:
                with Prometheus(prometheus, instance.address, rules and rules.resolve()) as running:
                    time.sleep(BEFORE * EVERY)
                    before = running.cpu()
                    time.sleep(EVALUATIONS * EVERY)
                    cpu = (running.cpu() - before) / (EVALUATIONS * EVERY)
                    without = cpu if rules is None else without
                    share = f"{(cpu - without) * 100:.1f} %" if rules else "–"
                    print(f"| {rules or 'none'} | {accounts:,} | {cpu * 100:.1f} % of a core | {share} | {running.slowest() if rules else '–'} |", flush=True)


if __name__ == "__main__":
    main()
