#!/bin/sh
# Divides every duration in Prometheus rules by a number: ranges, offsets, for, keep_firing_for and
# intervals. With it, a test observes days of alerting in minutes:
#
#     deploy/prometheus/scale.sh 720 <deploy/prometheus/alerts.yaml >scaled.yaml
#
# With 720, an hour becomes five seconds. Names of rules and numbers in expressions do not change.
# The test must choose its dates so that they match those numbers.
set -eu
exec awk -v by="$1" '
    BEGIN {
        duration = "([0-9]+(ms|[smhdwy]))+"
        place = "\\[" duration "(:" duration ")?\\]|offset " duration "|^ *(for|keep_firing_for|interval): " duration
        split("ms s m h d w y", names, " ")
        split("1 1000 60000 3600000 86400000 604800000 31536000000", lengths, " ")
        for (n in names) milliseconds[names[n]] = lengths[n]
    }

    function scaled(text,    sum, number) {
        while (match(text, "^[0-9]+")) {
            number = substr(text, 1, RLENGTH)
            text = substr(text, RLENGTH + 1)
            match(text, "^[a-z]+")
            sum += number * milliseconds[substr(text, 1, RLENGTH)]
            text = substr(text, RLENGTH + 1)
        }
        sum = int(sum / by + 0.5)
        # No duration becomes zero.
        return (sum < 1 ? 1 : sum) "ms"
    }

    # Replaces every match of a pattern: a duration is scaled, a place is searched for durations.
    function replaced(text, pattern,    done, found) {
        while (match(text, pattern)) {
            found = substr(text, RSTART, RLENGTH)
            done = done substr(text, 1, RSTART - 1)
            text = substr(text, RSTART + RLENGTH)
            done = done (pattern == duration ? scaled(found) : replaced(found, duration))
        }
        return done text
    }

    { print replaced($0, place) }
'
