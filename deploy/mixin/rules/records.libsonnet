// A target whose listing is not stale has its saas_connections.
{
  name: 'connections-exporter.records',
  rules: [
    // While a target has no listing, the last value stays, as long as the exporter polled the
    // target within the last quarter of an hour: one failed scrape changes nothing.
    {
      record: 'target:saas_connection_expected_present:last',
      expr: |||
        max without (instance, pod) (saas_connection_expected_present)
        or
          target:saas_connection_expected_present:last
        and ignoring (expected)
          max without (instance, pod) (last_over_time(connections_exporter_target_poll_interval_seconds[15m]))
        unless ignoring (expected)
          group without (instance, pod, connection_type, status) (saas_connections)
      |||,
    },

    // Age of the last complete listing at the time of the scrape. The difference between the clocks
    // of Prometheus and of the exporter is subtracted where the page has the exporter's time. After
    // a restart without a state directory the age continues from the last success that Prometheus
    // knows.
    {
      record: 'target:connections_exporter_listing_age_seconds',
      expr: |||
        min without (instance, pod) (
            timestamp(connections_exporter_target_last_success_timestamp_seconds)
            - connections_exporter_target_last_success_timestamp_seconds
          - ignoring (system, account, target) group_left ()
            (timestamp(connections_exporter_time_seconds) - connections_exporter_time_seconds)
          or
            timestamp(connections_exporter_target_last_success_timestamp_seconds)
            - connections_exporter_target_last_success_timestamp_seconds
        )
        or
          time() - max without (instance, pod) (last_over_time(connections_exporter_target_last_success_timestamp_seconds[1d]))
        and
          max without (instance, pod) (connections_exporter_target_poll_interval_seconds)
      |||,
    },

    // Connections that can be used: connected ones, and all of a system without statuses.
    {
      record: 'target:saas_connections:usable',
      expr: 'sum without (connection_type, status) (max without (instance, pod) (saas_connections{status=~"|connected"}))',
    },

    {
      record: 'account:connections_exporter_api_budget_used:ratio',
      expr: |||
        max without (instance, pod) (connections_exporter_api_planned_requests_per_second)
        / ignoring (kind)
          max without (instance, pod) (connections_exporter_api_budget_requests_per_second{kind="effective"})
      |||,
    },

    // Of a window that is over nothing is known until the next answer.
    {
      record: 'account:connections_exporter_api_quota_used:ratio',
      expr: |||
        1
        -
            max without (instance, pod) (connections_exporter_api_quota_remaining)
          /
            max without (instance, pod) (connections_exporter_api_quota_limit)
        unless
          max without (instance, pod) (
              connections_exporter_api_quota_reset_timestamp_seconds
              - ignoring (system, account, window) group_left () connections_exporter_time_seconds
            or
              connections_exporter_api_quota_reset_timestamp_seconds
              - timestamp(connections_exporter_api_quota_reset_timestamp_seconds)
          ) <= 0
      |||,
    },
  ],
}
