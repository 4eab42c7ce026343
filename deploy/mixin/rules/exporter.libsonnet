{
  name: 'connections-exporter.exporter',
  rules: [
    {
      alert: 'ConnectionsExporterReloadFailed',
      expr: 'connections_exporter_config_last_reload_successful == 0',
      'for': '5m',
      keep_firing_for: '15m',
      severity: 'warning',
      summary: 'The exporter {{ $labels.instance }} rejected its configuration file',
      description: |||
        The configuration file of {{ $labels.instance }} was rejected when it was last read. The earlier configuration stays in force; a restart would fail.
      |||,
      dashboard: 'exporter',
    },

    {
      alert: 'ConnectionsExporterWebConfigReloadFailed',
      expr: 'connections_exporter_web_config_last_reload_successful == 0',
      'for': '5m',
      keep_firing_for: '15m',
      severity: 'warning',
      summary: 'The exporter {{ $labels.instance }} rejected its web configuration',
      description: |||
        The web configuration of {{ $labels.instance }}, or a certificate or key that it names, was rejected when it was last read. The earlier one
        stays in force; a certificate that expires is not replaced, and a restart would fail.
      |||,
      dashboard: 'exporter',
    },

    {
      alert: 'ConnectionsExporterStateNotWritten',
      expr: 'increase(connections_exporter_state_write_failures_total[3h]) >= 2',
      keep_firing_for: '15m',
      severity: 'warning',
      summary: 'The exporter {{ $labels.instance }} cannot write its state directory',
      description: |||
        {{ $labels.instance }} failed to write to its state directory {{ printf "%.0f" $value }} times within three hours. After a restart its page would be
        empty or old until everything is polled anew.
      |||,
      dashboard: 'exporter',
    },

    // The smallest limit among common scrapers is the promscrape.maxScrapeSize of VictoriaMetrics,
    // 16 MiB. Prometheus has none by default.
    {
      alert: 'ConnectionsExporterPageTooLarge',
      expr: 'connections_exporter_page_bytes{encoding="identity"} > 0.8 * @pageLimitMiB@ * 1024 * 1024',
      'for': '15m',
      keep_firing_for: '15m',
      severity: 'warning',
      summary: 'The page of the exporter {{ $labels.instance }} comes near the limit of scrapers',
      description: |||
        The page of {{ $labels.instance }} has {{ $value | humanize1024 }}B. A scraper that reads at most @pageLimitMiB@ MiB will soon refuse all of it.
      |||,
      dashboard: 'exporter',
    },

    {
      alert: 'ConnectionsExporterClockSkew',
      expr: 'abs(timestamp(connections_exporter_time_seconds) - connections_exporter_time_seconds) > @clockSkewSeconds@',
      'for': '10m',
      keep_firing_for: '15m',
      severity: 'warning',
      summary: 'The clocks of the exporter {{ $labels.instance }} and of Prometheus differ by {{ $value | humanizeDuration | reReplaceAll " [0-9]+s$" "" }}',
      description: |||
        The clocks of {{ $labels.instance }} and of Prometheus differ by {{ $value | humanizeDuration | reReplaceAll " [0-9]+s$" "" }}. Ages and remaining lifetimes are wrong by as much.
      |||,
      dashboard: 'exporter',
    },

    // Whatever the job is called: every scrape target that was ours within the last day, and still
    // is down. A page narrowed to an account has no build_info, but the account's budget.
    {
      alert: 'ConnectionsExporterDown',
      expr: |||
        up == 0
        and on (job, instance) (
            last_over_time({__name__=~"connections_exporter_(build_info|api_budget_requests_per_second)"}[1d])
          or
            ALERTS{alertname="ConnectionsExporterDown"}
        )
      |||,
      'for': '5m',
      keep_firing_for: '15m',
      severity: 'critical',
      summary: 'The exporter {{ $labels.instance }} cannot be scraped',
      description: |||
        Prometheus gets no page of {{ $labels.instance }} (job {{ $labels.job }}): the alerts on connections and tokens see nothing new, and end within about half an hour.
      |||,
      dashboard: 'exporter',
    },

    // Nothing that is scraped was ours within the last day.
    {
      alert: 'ConnectionsExporterAbsent',
      expr: |||
        absent(
            up
          and on (job, instance)
            last_over_time({__name__=~"connections_exporter_(build_info|api_budget_requests_per_second)"}[1d])
        )
      |||,
      'for': '15m',
      // Accounts that return a little later are inhibited as long.
      keep_firing_for: '15m',
      severity: 'critical',
      summary: 'Prometheus scrapes no connections-exporter',
      description: |||
        No scrape target of this Prometheus was a connections-exporter within the last day: it was removed, its discovery is broken, or it was never there.
        Nobody watches the connections.
      |||,
      dashboard: 'exporter',
    },

    // Of an account that is taken out of the configuration, the scrape target stays: that raises
    // nothing. The rule looks back itself, so a gap in the scrapes does not end it. It begins after
    // the alerts that inhibit it and does not outlast them: series end two scrape intervals after
    // their target, and ConnectionsExporterAbsent waits for the last one.
    {
      alert: 'ConnectionsAccountMissing',
      expr: |||
        group without (instance, pod, kind) (
            last_over_time(connections_exporter_api_budget_requests_per_second{kind="configured"}[1d])
          unless on (job, instance)
            up
        )
        unless on (system, account)
          connections_exporter_api_budget_requests_per_second{kind="configured"}
      |||,
      'for': '20m',
      severity: 'critical',
      summary: 'Account {{ $labels.account }} is not monitored any more',
      description: |||
        An exporter of job {{ $labels.job }} exported account {{ $labels.account }} ({{ $labels.system }}) within the last day. Prometheus does not know that scrape target any
        more, and no other exports the account. Nobody watches its connections.
      |||,
      dashboard: 'account',
    },

    {
      alert: 'ConnectionsExporterShardMissing',
      expr: |||
        count without (shard) (count_values without (instance, pod) ("shard", connections_exporter_shard_index))
        <
          max without (instance, pod) (connections_exporter_shards)
      |||,
      'for': '10m',
      keep_firing_for: '15m',
      severity: 'critical',
      summary: 'Shards of the exporter are missing',
      description: |||
        Prometheus sees only {{ $value }}{{ with printf "max(connections_exporter_shards{job=%q})" $labels.job | query }} of {{ . | first | value }}{{ end }} shards:
        the accounts of the others are not watched.
      |||,
      dashboard: 'exporter',
    },
  ],
}
