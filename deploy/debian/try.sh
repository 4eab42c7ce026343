#!/bin/sh
# Installs, runs, upgrades, removes and purges the two packages given: a version and a later one.
# The service polls the package's own simulator. Needs a disposable Debian with systemd, such as the
# one that try-in-container.sh creates.
set -eu
first=$1 later=$2
unit=connections-exporter.service
etc=/etc/connections-exporter
url=http://127.0.0.1:9932

fail() {
    echo "FAILED: $*"
    journalctl --no-pager --unit=$unit | tail -n 40
    exit 1
}
# Repeats a command until it succeeds. Fails with the text of the command if it never does.
until_true() {
    for _ in $(seq 300); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    fail "never true: $*"
}
state() { systemctl show --value --property="$1" $unit; }
page_has() { curl --silent --fail $url/metrics | grep --quiet -- "$1"; }
restarted_from() { [ "$(state MainPID)" != "$1" ] && [ "$(state ActiveState)" = active ]; }
dump() { find / -xdev -path '*connections-exporter*' -not -path '/proc/*' -not -path '/packages/*' | sort; }

echo "# install: nothing runs before it is configured"
dpkg --install "$first"
systemctl is-enabled --quiet $unit && fail "enabled by its installation"
[ "$(state ActiveState)" = inactive ] || fail "started by its installation"
[ "$(stat -c %a:%U $etc/secrets)" = 700:root ] || fail "the folder of secrets is open"
connections-exporter --version

echo "# without accounts it is refused with a sentence"
systemctl start $unit && fail "started without accounts"
journalctl --no-pager --unit=$unit | grep "nothing to poll" || fail "no sentence in the journal"
systemctl stop $unit

echo "# configure, with credentials that root alone can read"
simulated=$(mktemp)
connections-exporter simulate >"$simulated" 2>/dev/null &
until_true grep --quiet zis: "$simulated"
sed --quiet 's/^#   export //p' "$simulated" | while IFS='=' read -r name value; do
    (umask 077 && echo "$value" >"$etc/secrets/$name")
done
# With a host name instead of an address, so that name resolution is tested in the sandbox, too.
sed -e "s#_env: #_file: /run/credentials/$unit/secrets_#" -e s#127.0.0.1:9933#localhost:9933# "$simulated" >$etc/config.yaml

echo "# start: systemd waits for READY, the page comes, the state is kept"
systemctl enable --now $unit
[ "$(state ActiveState)" = active ] || fail "not active"
curl --silent --fail $url/-/healthy
until_true curl --silent --fail $url/-/ready
page_has '^saas_connections{' || fail "no connections on the page"
page_has '^process_start_time_seconds [1-9]' || fail "no time of start"
systemctl --no-pager --lines=0 status $unit
id=$(state MainPID)
user=$(ps --no-headers -o user:32 "$id")
[ "$user" != root ] || fail "runs as root"
grep -E '^(CapEff|NoNewPrivs|Seccomp):' "/proc/$id/status"
until_true ls /var/lib/private/connections-exporter/*/*
find /var/lib/private/connections-exporter -perm /077 | grep . && fail "others can read the state"

echo "# reload: the same process takes up an edit, and keeps it when the next one is broken"
sed --in-place 's/^  interval: 10s$/  interval: 11s/' $etc/config.yaml
systemctl reload $unit
until_true page_has '^connections_exporter_target_poll_interval_seconds{.*} 11'
cp $etc/config.yaml "$simulated"
echo "zuoro: []" >>$etc/config.yaml
systemctl reload $unit
until_true page_has '^connections_exporter_config_last_reload_successful 0'
page_has '^connections_exporter_target_poll_interval_seconds{.*} 11' || fail "a broken edit was loaded"
cp "$simulated" $etc/config.yaml
systemctl reload $unit
until_true page_has '^connections_exporter_config_last_reload_successful 1'
[ "$(state MainPID)" = "$id" ] || fail "a reload is no restart"

echo "# a process that hangs is noticed by the watchdog, and a restart forgets nothing"
kill -s STOP "$id"
for _ in $(seq 450); do restarted_from "$id" && break; sleep 0.1; done
restarted_from "$id" || fail "the watchdog did not bite"
journalctl --no-pager --unit=$unit | grep -i "watchdog timeout"
until_true page_has '^connections_exporter_target_restored{.*} 1'

echo "# upgrade: restarted, and the configuration is kept"
before=$(sha256sum $etc/config.yaml $etc/secrets/*)
id=$(state MainPID)
dpkg --force-confold --install "$later"
until_true restarted_from "$id"
until_true curl --silent --fail $url/-/ready
[ "$before" = "$(sha256sum $etc/config.yaml $etc/secrets/*)" ] || fail "the upgrade changed the configuration"

echo "# stop: at once, and well"
systemctl stop $unit
[ "$(state Result)" = success ] || fail "ended with $(state Result)"

echo "# remove: the configuration and the state stay"
systemctl start $unit
dpkg --remove connections-exporter
[ -e /usr/bin/connections-exporter ] && fail "the program is still there"
pgrep --full '^/usr/bin/connections-exporter' && fail "the service still runs"
[ -s $etc/config.yaml ] || fail "the configuration is gone"
dump

echo "# purge: nothing stays"
dpkg --purge connections-exporter
left=$(dump)
[ -z "$left" ] || fail "left behind: $left"
echo "# all as it should be"
