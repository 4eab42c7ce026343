{
  name: 'connections-exporter.budget',
  rules: [
    // Minutes of the last hour. Pauses of a few seconds after each poll do not count as minutes.
    {
      alert: 'ConnectionsAccountPaused',
      expr: |||
        count_over_time((max without (instance, pod) (connections_exporter_api_paused_until_timestamp_seconds))[1h:1m]) >= @pausedMinutes@
      |||,
      keep_firing_for: '15m',
      severity: 'warning',
      summary: 'No requests were made to {{ $labels.account }} for {{ $value }} of the last 60 minutes',
      description: |||
        The vendor had the exporter pause account {{ $labels.account }} ({{ $labels.system }}) for {{ $value }} of the last 60 minutes. Its targets are
        polled late, or not at all.
      |||,
      dashboard: 'account',
    },

    // A failed scrape within the hour changes nothing.
    {
      alert: 'ConnectionsPlanOverBudget',
      expr: 'last_over_time(account:connections_exporter_api_budget_used:ratio[15m]) > 1',
      'for': '1h',
      keep_firing_for: '15m',
      severity: 'warning',
      summary: 'The listings of {{ $labels.account }} need more requests than its budget',
      description: |||
        What is to be listed of account {{ $labels.account }} ({{ $labels.system }}) needs {{ $value | humanizePercentage }} of the requests that its budget
        allows now: every interval is stretched by as much.
      |||,
      dashboard: 'account',
    },

    // Each time that the vendor told: of a window of a minute something is known for a minute after
    // each poll only.
    {
      alert: 'ConnectionsQuotaNearlyUsed',
      expr: 'min_over_time(account:connections_exporter_api_quota_used:ratio[10m]) > @quotaFraction@',
      'for': '5m',
      keep_firing_for: '15m',
      severity: 'warning',
      summary: "{{ $labels.account }} has used {{ $value | humanizePercentage }} of its vendor's quota",
      description: |||
        Of the quota of account {{ $labels.account }} ({{ $labels.system }}, window {{ $labels.window }}) {{ $value | humanizePercentage }} is used, by
        the exporter and by everything else that shares it. Once it is used up, all of them are refused.
      |||,
      dashboard: 'account',
    },
  ],
}
