"""Reads a page from standard input with the strict OpenMetrics parser of the Python client.

Prints the number of samples. Exits with an error if the page is not OpenMetrics.
"""

import io
import sys

from prometheus_client.openmetrics.parser import text_fd_to_metric_families

page = io.StringIO(sys.stdin.buffer.read().decode(), newline="\n")
print(sum(len(family.samples) for family in text_fd_to_metric_families(page)))
