function __fish_connections_exporter_needs_command
    not __fish_seen_subcommand_from check demo simulate healthcheck
end

function __fish_connections_exporter_using_subcommand
    __fish_seen_subcommand_from $argv
end

complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l config.file -d 'Configuration file' -r -F
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l web.listen-address -d 'Address to listen on, host:port or :port; repeatable' -r
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l web.telemetry-path -d 'Path of the metrics page' -r
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l web.config.file -d 'File with TLS and authentication settings, in exporter-toolkit\'s format; see docs/web-configuration.md' -r -F
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l web.max-requests -d 'Maximum number of responses in flight. A further request replaces a response whose client reads nothing, or gets 503 after two seconds' -r
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l state.dir -d 'Directory for state that survives a restart; without it, nothing is written' -r -F
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l shard.index -d 'Index of this process among the shards, from 0. `auto` takes the ordinal at the end of the host name' -r
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l shard.total -d 'Number of processes that share the accounts of the configuration. Each account belongs to one of them' -r
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l log.level -d 'Minimum level to log' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l log.format -d 'Format of log lines on standard error' -r -f -a "logfmt\t'`key=value`, one line each'
json\t'One JSON object a line'"
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l config.check -d 'Load the configuration, report every error, print the request estimate, and exit'
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l web.systemd-socket -d 'Listen on the sockets that systemd passes, instead of --web.listen-address'
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l web.enable-lifecycle -d 'Allow POST and PUT to /-/reload, which reloads the configuration. SIGHUP always does'
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l state.wait -d 'Wait while another process uses the state directory, and take over when it ends'
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -l debug.core-dumps -d 'Allow core dumps and debuggers, which expose credentials'
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -s V -l version -d 'Print version'
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -f -a "check" -d 'Poll every target once, within the rate limit, and print a table of the results. Exit with 1 if a condition of `--fail-on` is met. The log level `info` counts as `error`, because the table has the failures'
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -f -a "demo" -d 'Run the daemon against the built-in simulator: no credentials, no file'
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -f -a "simulate" -d 'Run only the simulator of both APIs, and print a configuration that polls it'
complete -c connections-exporter -n "__fish_connections_exporter_needs_command" -f -a "healthcheck" -d 'Ask a running daemon\'s /-/healthy; exit 0 only for a 200'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l format -d 'Format of the results: for people or for programs' -r -f -a "table\t'A line for each target'
json\t'One JSON object'"
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l timeout -d 'How long to poll. A target that was not polled by then counts as failed' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l fail-on -d 'Conditions that set exit code 1, separated by commas: unlisted, a target could not be listed in time; missing, an expected connection is missing' -r -f -a "unlisted\t'A target that could not be listed, or was not reached in time'
missing\t'An expected connection that is not there'"
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l report -d 'Write a report of the shapes of all responses to a new file: for the maintainers, without anything that belongs to the account\'s owner. See docs/first-contact.md' -r -F
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l web.listen-address -d 'Address to listen on, host:port or :port; repeatable' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l web.telemetry-path -d 'Path of the metrics page' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l web.config.file -d 'File with TLS and authentication settings, in exporter-toolkit\'s format; see docs/web-configuration.md' -r -F
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l web.max-requests -d 'Maximum number of responses in flight. A further request replaces a response whose client reads nothing, or gets 503 after two seconds' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l config.file -d 'Configuration file' -r -F
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l shard.index -d 'Index of this process among the shards, from 0. `auto` takes the ordinal at the end of the host name' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l shard.total -d 'Number of processes that share the accounts of the configuration. Each account belongs to one of them' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l log.level -d 'Minimum level to log' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l log.format -d 'Format of log lines on standard error' -r -f -a "logfmt\t'`key=value`, one line each'
json\t'One JSON object a line'"
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l web.systemd-socket -d 'Listen on the sockets that systemd passes, instead of --web.listen-address'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l web.enable-lifecycle -d 'Allow POST and PUT to /-/reload, which reloads the configuration. SIGHUP always does'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -l debug.core-dumps -d 'Allow core dumps and debuggers, which expose credentials'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l simulator.entities -d 'Zuora entities' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l simulator.entity-connections -d 'Zuora connections, distributed over pairs of entities' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l simulator.integrations -d 'ZIS integrations' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l simulator.integration-connections -d 'ZIS connections of each integration' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l simulator.integration-tokens -d 'ZIS connections of each integration that store a token, which expires in 30 days. The others have none. By default there is every kind of token expiry' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l simulator.seed -d 'Seed of the random data' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l simulator.requests-per-minute -d 'Requests per minute that each API allows. Further requests get 429' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l simulator.fault -d 'Fault that is active from the start, such as `kind=429&retry_after=30&times=2`; repeatable' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l simulator.replay -d 'Answer with the shapes in a report of `check --report`, in place of random data. It replays the first account of each system, with the rate limit of the report' -r -F
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l config.file -d 'Configuration file' -r -F
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l shard.index -d 'Index of this process among the shards, from 0. `auto` takes the ordinal at the end of the host name' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l shard.total -d 'Number of processes that share the accounts of the configuration. Each account belongs to one of them' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l web.listen-address -d 'Address to listen on, host:port or :port; repeatable' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l web.telemetry-path -d 'Path of the metrics page' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l web.config.file -d 'File with TLS and authentication settings, in exporter-toolkit\'s format; see docs/web-configuration.md' -r -F
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l web.max-requests -d 'Maximum number of responses in flight. A further request replaces a response whose client reads nothing, or gets 503 after two seconds' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l log.level -d 'Minimum level to log' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l log.format -d 'Format of log lines on standard error' -r -f -a "logfmt\t'`key=value`, one line each'
json\t'One JSON object a line'"
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l demo.still -d 'Let nothing happen at the simulated vendors. By default connections, credentials and quotas change for two minutes'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l debug.core-dumps -d 'Allow core dumps and debuggers, which expose credentials'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l web.systemd-socket -d 'Listen on the sockets that systemd passes, instead of --web.listen-address'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -l web.enable-lifecycle -d 'Allow POST and PUT to /-/reload, which reloads the configuration. SIGHUP always does'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l simulator.entities -d 'Zuora entities' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l simulator.entity-connections -d 'Zuora connections, distributed over pairs of entities' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l simulator.integrations -d 'ZIS integrations' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l simulator.integration-connections -d 'ZIS connections of each integration' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l simulator.integration-tokens -d 'ZIS connections of each integration that store a token, which expires in 30 days. The others have none. By default there is every kind of token expiry' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l simulator.seed -d 'Seed of the random data' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l simulator.requests-per-minute -d 'Requests per minute that each API allows. Further requests get 429' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l simulator.fault -d 'Fault that is active from the start, such as `kind=429&retry_after=30&times=2`; repeatable' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l simulator.replay -d 'Answer with the shapes in a report of `check --report`, in place of random data. It replays the first account of each system, with the rate limit of the report' -r -F
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l simulator.listen-address -d 'Address of the simulator; loopback only' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l config.file -d 'Configuration file' -r -F
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l web.listen-address -d 'Address to listen on, host:port or :port; repeatable' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l web.telemetry-path -d 'Path of the metrics page' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l web.config.file -d 'File with TLS and authentication settings, in exporter-toolkit\'s format; see docs/web-configuration.md' -r -F
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l web.max-requests -d 'Maximum number of responses in flight. A further request replaces a response whose client reads nothing, or gets 503 after two seconds' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l shard.index -d 'Index of this process among the shards, from 0. `auto` takes the ordinal at the end of the host name' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l shard.total -d 'Number of processes that share the accounts of the configuration. Each account belongs to one of them' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l log.level -d 'Minimum level to log' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l log.format -d 'Format of log lines on standard error' -r -f -a "logfmt\t'`key=value`, one line each'
json\t'One JSON object a line'"
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l web.systemd-socket -d 'Listen on the sockets that systemd passes, instead of --web.listen-address'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l web.enable-lifecycle -d 'Allow POST and PUT to /-/reload, which reloads the configuration. SIGHUP always does'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -l debug.core-dumps -d 'Allow core dumps and debuggers, which expose credentials'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand simulate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand healthcheck" -l config.file -d 'Configuration file' -r -F
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand healthcheck" -l web.telemetry-path -d 'Path of the metrics page' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand healthcheck" -l web.max-requests -d 'Maximum number of responses in flight. A further request replaces a response whose client reads nothing, or gets 503 after two seconds' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand healthcheck" -l shard.index -d 'Index of this process among the shards, from 0. `auto` takes the ordinal at the end of the host name' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand healthcheck" -l shard.total -d 'Number of processes that share the accounts of the configuration. Each account belongs to one of them' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand healthcheck" -l log.level -d 'Minimum level to log' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand healthcheck" -l log.format -d 'Format of log lines on standard error' -r -f -a "logfmt\t'`key=value`, one line each'
json\t'One JSON object a line'"
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand healthcheck" -l web.listen-address -d 'Address to listen on, host:port or :port; repeatable' -r
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand healthcheck" -l web.config.file -d 'File with TLS and authentication settings, in exporter-toolkit\'s format; see docs/web-configuration.md' -r -F
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand healthcheck" -l web.systemd-socket -d 'Listen on the sockets that systemd passes, instead of --web.listen-address'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand healthcheck" -l web.enable-lifecycle -d 'Allow POST and PUT to /-/reload, which reloads the configuration. SIGHUP always does'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand healthcheck" -l debug.core-dumps -d 'Allow core dumps and debuggers, which expose credentials'
complete -c connections-exporter -n "__fish_connections_exporter_using_subcommand healthcheck" -s h -l help -d 'Print help'
