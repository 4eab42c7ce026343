// Why a target cannot be listed: by remedy. What it means, that nobody sees changes there, is
// ConnectionsTargetStale. Without a state folder failures are counted anew after a restart: until
// there are as many again takes half an hour.
{
  name: 'connections-exporter.targets',
  rules: [
    {
      alert: 'ConnectionsTargetUnauthorized',
      expr: |||
        max without (instance, pod) (connections_exporter_target_failing{reason=~"credential|unauthorized"})
        and ignoring (reason)
          max without (instance, pod) (connections_exporter_target_consecutive_failures) >= @refusedPolls@
      |||,
      'for': '5m',
      keep_firing_for: '30m',
      severity: 'warning',
      summary: 'The credential for {{ $labels.target }} of {{ $labels.account }} {{ if eq $labels.reason "credential" }}cannot be read{{ else }}is refused{{ end }}',
      description: |||
        {{ $labels.target }} (account {{ $labels.account }}, {{ $labels.system }}) cannot be listed: {{ if eq $labels.reason "credential"
        }}its secret file or variable is missing, unreadable or empty{{ else }}the vendor refuses its credential{{ end }}. Until it is replaced the exporter
        asks less and less often, up to once an hour.
      |||,
      dashboard: 'target',
    },

    {
      alert: 'ConnectionsTargetMismatch',
      expr: |||
        max without (instance, pod) (connections_exporter_target_failing{reason="integration_mismatch"})
        and ignoring (reason)
          max without (instance, pod) (connections_exporter_target_consecutive_failures) >= @refusedPolls@
      |||,
      'for': '5m',
      keep_firing_for: '30m',
      severity: 'warning',
      summary: 'The token for {{ $labels.target }} of {{ $labels.account }} belongs to another integration',
      description: |||
        {{ $labels.target }} (account {{ $labels.account }}, {{ $labels.system }}) cannot be listed: its token belongs to another integration, or there is no
        integration of this name.
      |||,
      dashboard: 'target',
    },

    {
      alert: 'ConnectionsTargetForbidden',
      expr: |||
        max without (instance, pod) (connections_exporter_target_failing{reason="forbidden"})
        and ignoring (reason)
          max without (instance, pod) (connections_exporter_target_consecutive_failures) >= @refusedPolls@
      |||,
      'for': '5m',
      keep_firing_for: '30m',
      severity: 'warning',
      summary: 'The credential for {{ $labels.target }} of {{ $labels.account }} lacks a permission',
      description: |||
        {{ $labels.target }} (account {{ $labels.account }}, {{ $labels.system }}) cannot be listed: the vendor knows the credential, but it lacks a permission
        or a scope.
      |||,
      dashboard: 'target',
    },

    {
      alert: 'ConnectionsTargetRateLimited',
      expr: |||
        max without (instance, pod) (connections_exporter_target_failing{reason="rate_limited"})
        and ignoring (reason)
          max without (instance, pod) (connections_exporter_target_consecutive_failures) >= @failedPolls@
      |||,
      'for': '10m',
      keep_firing_for: '30m',
      severity: 'warning',
      summary: 'Listing {{ $labels.target }} of {{ $labels.account }} fails for want of quota',
      description: |||
        {{ $labels.target }} (account {{ $labels.account }}, {{ $labels.system }}) cannot be listed: the vendor answers that too many requests were made,
        @failedPolls@ times or more in a row. The quota is shared with everything else that uses the account.
      |||,
      dashboard: 'account',
    },

    // The reason may change from one poll to the next, and is no label here.
    {
      alert: 'ConnectionsTargetFailing',
      expr: |||
        max without (instance, pod, reason) (
          connections_exporter_target_failing{reason!~"credential|unauthorized|integration_mismatch|forbidden|rate_limited"}
        )
        and
          max without (instance, pod) (connections_exporter_target_consecutive_failures) >= @failedPolls@
      |||,
      'for': '10m',
      keep_firing_for: '30m',
      severity: 'warning',
      summary: '{{ $labels.target }} of {{ $labels.account }} cannot be listed',
      description: |||
        {{ $labels.target }} (account {{ $labels.account }}, {{ $labels.system }}) could not be listed @failedPolls@ times or more in a row{{
        with printf "connections_exporter_target_failing{job=%q,system=%q,account=%q,target=%q}" $labels.job $labels.system $labels.account $labels.target | query
        }}, lastly because of {{ . | first | label "reason" }}{{ end }}.
      |||,
      dashboard: 'target',
    },

    // After a long outage, a target whose first poll is still to come is given the time for it; not
    // where it is to come only because the account is paused. A target that was never listed counts
    // from its second failure on.
    {
      alert: 'ConnectionsTargetStale',
      expr: |||
        (
            target:connections_exporter_listing_age_seconds
          > (
              clamp_min(@staleIntervals@ * max without (instance, pod) (connections_exporter_target_poll_interval_seconds), @staleMinSeconds@)
              + max without (instance, pod) (connections_exporter_target_last_poll_duration_seconds)
            or
              clamp_min(@staleIntervals@ * max without (instance, pod) (connections_exporter_target_poll_interval_seconds), @staleMinSeconds@)
          )
          unless (
                max without (instance, pod) (connections_exporter_target_next_poll_timestamp_seconds)
              > (
                  max without (instance, pod) (connections_exporter_target_last_success_timestamp_seconds)
                  + target:connections_exporter_listing_age_seconds
                or
                  0 * target:connections_exporter_listing_age_seconds + time()
              )
            and
              max without (instance, pod) (connections_exporter_target_consecutive_failures) == 0
            unless ignoring (target)
              max without (instance, pod) (connections_exporter_api_paused_until_timestamp_seconds)
          )
        )
        or (
            max without (instance, pod) (connections_exporter_target_consecutive_failures) >= 2
          unless
            target:connections_exporter_listing_age_seconds
        )
      |||,
      'for': '5m',
      keep_firing_for: '30m',
      severity: 'critical',
      summary: 'Nothing new is known of {{ $labels.target }} of {{ $labels.account }}',
      description: |||
        {{ with printf "target:connections_exporter_listing_age_seconds{job=%q,system=%q,account=%q,target=%q}" $labels.job $labels.system $labels.account $labels.target | query
        }}The last complete listing of {{ $labels.target }} (account {{ $labels.account }}, {{ $labels.system }}) is
        {{ . | first | value | humanizeDuration | reReplaceAll " [0-9]+s$" "" }} old, more than @staleIntervals@ intervals:{{ else }}There has been no complete listing of
        {{ $labels.target }} (account {{ $labels.account }}, {{ $labels.system }}):{{ end }} what is disconnected, missing or expiring there goes unseen.
        {{ with printf "connections_exporter_target_failing{job=%q,system=%q,account=%q,target=%q}" $labels.job $labels.system $labels.account $labels.target | query
        }} The last poll failed: {{ . | first | label "reason" }}.{{ end }}
      |||,
      dashboard: 'target',
    },

    // Targets are discovered once an hour.
    {
      alert: 'ConnectionsDiscoveryFailing',
      expr: 'time() - max without (instance, pod) (connections_exporter_discovery_last_success_timestamp_seconds) > @discoveryFailingHours@ * 3600',
      'for': '15m',
      keep_firing_for: '15m',
      severity: 'warning',
      summary: 'The targets of {{ $labels.account }} cannot be discovered',
      description: |||
        The list of targets of account {{ $labels.account }} ({{ $labels.system }}) was last obtained {{ $value | humanizeDuration | reReplaceAll " [0-9]+s$" "" }} ago:
        those known are polled, new ones are not noticed.
      |||,
      dashboard: 'account',
    },

    // The list that says which entities exist is read once an hour. A failed scrape within the hour
    // changes nothing.
    {
      alert: 'ConnectionsEntitiesUnreached',
      expr: 'max without (instance, pod) (last_over_time(connections_exporter_targets_unreached[15m])) > 0',
      'for': '1h',
      keep_firing_for: '30m',
      severity: 'warning',
      summary: '{{ $value }} entit{{ if eq $value 1.0 }}y{{ else }}ies{{ end }} of {{ $labels.account }} cannot be accessed with its credential',
      description: |||
        Account {{ $labels.account }} ({{ $labels.system }}) has {{ $value }} provisioned entit{{ if eq $value 1.0 }}y{{ else }}ies{{ end }} that the exporter's credential cannot access.
        Connections between such entities are not monitored.
      |||,
      dashboard: 'connections',
    },

    {
      alert: 'ConnectionsDiscoveryNeverSucceeded',
      expr: |||
        max without (instance, pod) (connections_exporter_discovery_up) == 0
        unless
          max without (instance, pod) (connections_exporter_discovery_last_success_timestamp_seconds)
      |||,
      'for': '15m',
      keep_firing_for: '30m',
      severity: 'critical',
      summary: 'No targets of {{ $labels.account }} are known',
      description: |||
        The list of targets of account {{ $labels.account }} ({{ $labels.system }}) has not been obtained since the exporter started: nothing of it is polled.
      |||,
      dashboard: 'account',
    },

    // Alertmanager can inhibit the alerts that this one explains: docs/runbooks/README.md.
    {
      alert: 'ConnectionsVendorOutage',
      expr: |||
        count without (account) (
          group without (instance, pod, target, reason) (
              connections_exporter_target_failing{reason=~"unreachable|tls|timeout|rate_limited|server_error|unexpected_status|refused|decode"}
            and ignoring (reason)
              connections_exporter_target_consecutive_failures >= 2
          )
        )
        >= @outageAccounts@
        >= @outageFraction@ * count without (account) (group without (instance, pod, target) (connections_exporter_target_poll_interval_seconds))
      |||,
      'for': '5m',
      // Longer than the alerts that it inhibits.
      keep_firing_for: '1h',
      severity: 'critical',
      summary: 'Listings of {{ $value }} accounts of {{ $labels.system }} fail',
      description: |||
        {{ $accounts := printf "count(count by (account) (connections_exporter_target_poll_interval_seconds{job=%q,system=%q}))" $labels.job $labels.system | query -}}
        {{ $failing := printf "topk(1, count by (reason) (connections_exporter_target_failing{job=%q,system=%q}))" $labels.job $labels.system | query -}}
        Targets of {{ $value }} accounts of {{ $labels.system }}, of {{ with $accounts }}{{ . | first | value }}{{ end }}, cannot be listed{{ with $failing }}, most of them because of {{ . | first | label "reason" }}{{ end }}.
        Either the vendor has an outage, or the exporter cannot reach it.
      |||,
      dashboard: 'outage',
    },
  ],
}
