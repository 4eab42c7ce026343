"""The table and the machine, as Markdown."""

import os
import pathlib
import re
import subprocess


def table(rows):
    lines = ["| what | measured | against | ratio | to reach | |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        goal = f"{row.goal:g} or {'less' if row.most else 'more'}"
        lines.append(
            f"| {row.what} | {row.ours} | {row.against} | {row.ratio:.2f} | {goal} | {'reached' if row.reached else '**missed**'} |"
        )
    return "\n".join(lines)


def machine(tools):
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])
    versions = {
        "nginx": said(tools.nginx, "-v"),
        "Pushgateway": said(tools.pushgateway, "--version"),
        "wrk": said("wrk", "-v"),
        "curl": said("curl", "--version"),
    }
    congestion = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text()
    numbers = ", ".join(f"{name} {re.search(r'[0-9]+[.][0-9.]+', text)[0]}" for name, text in versions.items())
    return (
        f"Machine: {cpu[1] if cpu else os.uname().machine}, {os.cpu_count()} cores, {memory / 1024**2:.0f} GiB, "
        f"Linux {os.uname().release.partition('-')[0]} with {congestion.strip()}; {numbers}."
    )


def said(*command):
    """What it says of its version, wherever it says it."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    return done.stdout + done.stderr
