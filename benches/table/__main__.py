"""Measures the daemon against real programs, in one run, and prints the table as Markdown.

Everything listens on loopback, and what is started here is ended here.
"""

import argparse
import os
import pathlib
import shutil
import signal
import sys
import types

import rows
from programs import Failed
from report import machine, table

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

ROWS = {
    "nginx": rows.scrape_against_nginx,
    "pushgateway": rows.full_page_against_pushgateway,
    "openmetrics": rows.openmetrics_against_text,
    "publishing": rows.scrape_while_publishing,
    "refresh": rows.refresh_against_curl,
    "small": rows.small_and_old,
    "requests": rows.vendor_requests,
    "growth": rows.growth,
    "loop": rows.held_by_polls,
    "start": rows.start,
    "state": rows.first_start,
    "accounts": rows.many_accounts,
    "fleet": rows.fleet,
    "size": rows.size,
}


def main():
    parser = argparse.ArgumentParser(prog="table", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="measurement", help=f"of {', '.join(ROWS)}; all of them if none is named")
    parser.add_argument("--tools", type=pathlib.Path, default=REPOSITORY / "target/tools", help="where benches/tools.sh unpacked programs")
    parser.add_argument("--daemon", type=pathlib.Path, default=REPOSITORY / "target/release/connections-exporter")
    parser.add_argument("--growth", help="the program that benches/growth.rs becomes; without it, cargo builds and runs it")
    parser.add_argument("--event-loop", help="the same for benches/event_loop.rs")
    parser.add_argument("--old", type=int, default=60, help="seconds for which the small daemon runs before its memory is read")
    parser.add_argument("--output", type=pathlib.Path, help="also write the table there")
    arguments = parser.parse_args()
    if unknown := set(arguments.only) - set(ROWS):
        parser.error(f"there is no measurement {', '.join(unknown)}")
    path = f"{arguments.tools}/usr/bin:{arguments.tools}/usr/sbin:{os.environ['PATH']}"
    cargo = ["cargo", "bench", "--quiet", "--locked", f"--manifest-path={REPOSITORY}/Cargo.toml", "--bench"]
    tools = types.SimpleNamespace(
        daemon=arguments.daemon.resolve(),
        nginx=shutil.which("nginx", path=path),
        pushgateway=shutil.which("prometheus-pushgateway", path=path),
        growth=[arguments.growth] if arguments.growth else [*cargo, "growth"],
        event_loop=[arguments.event_loop] if arguments.event_loop else [*cargo, "event_loop"],
    )
    measured = []
    for name in arguments.only or ROWS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        more = [arguments.old] if name == "small" else []
        for row in ROWS[name](tools, *more):
            measured.append(row)
            print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
    text = f"{machine(tools)}\n\n{table(measured)}\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    # As an exception, so that what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("table: ended by SIGTERM"))
    try:
        main()
    except (Failed, OSError) as error:
        sys.exit(f"table: {error}")
