"""Writes rules and tests as VictoriaMetrics' vmalert-tool can run them: vmalert.py DIRECTORY

- Recorded values can be read when a group is done, not before. Each record of a group that has
  alerts becomes a group of its own.
- Tests of expressions are called `metricsql_expr_test`.

Three files are left out. `links`: the tool adds external labels to every alert. `date` and
`date-imminent`: it stores no samples from more than two days ahead of the clock.
"""

import pathlib
import sys

import yaml

LEFT_OUT = {"links", "date", "date-imminent"}


def parts(group):
    """Groups that together are this one."""
    alerts = [rule for rule in group["rules"] if "alert" in rule]
    if not alerts:
        return [group]
    records = [rule for rule in group["rules"] if "record" in rule]
    # The order of the file is kept: no record may follow an alert.
    assert group["rules"] == records + alerts, group["name"]
    named = [*([record] for record in records), alerts]
    return [{**group, "name": f"{group['name']}.{number}", "rules": rules} for number, rules in enumerate(named)]


def main():
    here = pathlib.Path(__file__).parent
    directory = pathlib.Path(sys.argv[1])
    groups = yaml.safe_load((here / "alerts.yaml").read_text())["groups"]
    of = {group["name"]: parts(group) for group in groups}
    rules = {"groups": [part for group in groups for part in of[group["name"]]]}
    (directory / "alerts.yaml").write_text(yaml.safe_dump(rules, sort_keys=False))
    tests = directory / "tests"
    tests.mkdir()
    for path in sorted((here / "tests").glob("*.yaml")):
        if path.stem in LEFT_OUT:
            continue
        file = yaml.safe_load(path.read_text())
        order = file.get("group_eval_order", list(of))
        file["group_eval_order"] = [part["name"] for group in order for part in of[group]]
        for test in file["tests"]:
            if "promql_expr_test" in test:
                test["metricsql_expr_test"] = test.pop("promql_expr_test")
        (tests / path.name).write_text(yaml.safe_dump(file, sort_keys=False))


if __name__ == "__main__":
    main()
