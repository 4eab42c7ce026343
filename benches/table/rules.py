"""What rule files cost a Prometheus that scrapes one instance of the size in docs/scaling.md:

    python3 benches/table/rules.py DAEMON PROMETHEUS ACCOUNTS RULES...

The last argument can be several rule files, which are measured one after the other.
"""

import json
import pathlib
import sys
import time

from instance import CONNECTIONS, INTEGRATIONS, Instance
from programs import Program, Simulator, free_port, get, wait_for

# Seconds between two scrapes, and between two evaluations.
EVERY = 60
EVALUATIONS = 4


class Prometheus(Program):
    def __init__(self, binary, target, rules):
        self.address = f"127.0.0.1:{free_port()}"
        super().__init__([binary, f"--web.listen-address={self.address}"])
        self.command += [f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data"]
        configuration = {
            "global": {"scrape_interval": f"{EVERY}s", "scrape_timeout": "30s", "evaluation_interval": f"{EVERY}s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "exporter", "static_configs": [{"targets": [target]}]}],
        }
        (self.folder / "prometheus.yml").write_text(json.dumps(configuration))

    def ready(self):
        wait_for("Prometheus", lambda: self.answers("/-/ready"))

    def evaluations(self):
        """Seconds of all evaluations of groups, and their number."""
        lines = get(self.address, "/metrics").decode().splitlines()
        value = {name: float(text) for name, _, text in (line.rpartition(" ") for line in lines if not line.startswith("#"))}
        name = "prometheus_rule_group_duration_seconds"
        return value[f"{name}_sum"], value[f"{name}_count"]

    def groups(self):
        return json.loads(get(self.address, "/api/v1/rules"))["data"]["groups"]


def main():
    daemon, prometheus = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
    print("| rules | accounts | an evaluation of all | of a core | slowest rules |\n| --- | --- | --- | --- | --- |")
    with Simulator(daemon, INTEGRATIONS, CONNECTIONS) as simulator:
        with Instance(daemon, simulator, "300s", int(sys.argv[3])) as instance:
            for rules in map(pathlib.Path, sys.argv[4:]):
                with Prometheus(prometheus, instance.address, rules.resolve()) as running:
                    # The first evaluations see nothing, or fewer series.
                    time.sleep(3 * EVERY)
                    before = running.evaluations()
                    time.sleep(EVALUATIONS * EVERY)
                    after = running.evaluations()
                    groups = running.groups()
                    seconds = (after[0] - before[0]) / ((after[1] - before[1]) / len(groups))
                    slowest = sorted((rule["evaluationTime"], rule["name"]) for group in groups for rule in group["rules"])[-3:]
                    names = ", ".join(f"{name} {took:.2f} s" for took, name in reversed(slowest))
                    print(f"| {rules} | {sys.argv[3]} | {seconds:.2f} s | {seconds / EVERY * 100:.1f} % | {names} |", flush=True)


if __name__ == "__main__":
    main()
