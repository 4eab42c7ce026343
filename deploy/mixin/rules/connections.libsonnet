local info = import 'info.libsonnet';

// Connections that can hold an API token of Zendesk: those that may send their password there.
local apiTokens = |||
  group without (instance, pod, %s) (
    saas_connection_info{system="zis", connection_type="basic_auth", allowed_domain=~"(.+\\.)?zendesk\\.com|"}
  )
||| % info.labels(['allowed_domain']);
// Texts of the two alerts on them.
local apiTokenSummary = '{{ $labels.connection }} of {{ $labels.account }} may use a Zendesk API token, which ends on 2027-04-30';
local apiTokenDescription = |||
  Connection {{ $labels.connection }} of {{ $labels.target }} (account {{ $labels.account }}, {{ $labels.system }}) uses basic authentication
  {{ if $labels.allowed_domain }}for {{ $labels.allowed_domain }}{{ else }}for any domain{{ end }}. If its password is a Zendesk API token, it
  {{ with query "1809043200 - time()" }}{{ $left := . | first | value }}{{ if gt $left 0.0 }}stops working on 2027-04-30, in {{ $left | humanizeDuration | reReplaceAll " [0-9]+h [0-9]+m [0-9]+s$" "" }}{{ else }}stopped working on 2027-04-30{{ end }}{{ end }}.
  Replace it with an OAuth connection.
|||;

{
  name: 'connections-exporter.connections',
  rules: [
    // Once for each connection, by what each target's own listings showed. It ends when the two
    // entities are connected again, and after a week.
    {
      alert: 'ConnectionDisconnected',
      expr: |||
        max without (instance, pod, target, connection_type, source_entity_name, target_entity_name) (
          saas_connection_lost_timestamp_seconds
        ) > time() - 7 * 86400
      |||,
      keep_firing_for: '15m',
      severity: 'critical',
      summary: 'Connection {{ $labels.connection }} of {{ $labels.account }} is no longer connected',
      description: |||
        {{ $lost := printf "saas_connection_lost_timestamp_seconds{job=%q,system=%q,account=%q,connection=%q}" $labels.job $labels.system $labels.account $labels.connection | query -}}
        Connection {{ $labels.connection }} of account {{ $labels.account }} ({{ $labels.system }}) between
        {{- with $lost }}{{ with first . }} {{ or (label "source_entity_name" .) $labels.source_entity }} and {{ or (label "target_entity_name" .) $labels.target_entity }}{{ end }}{{ end }}
        was connected, and since {{ $value | humanizeTimestamp | reReplaceAll ":[0-9]+\\.?[0-9]* .*$" "" }} UTC listings show it disconnected or not at all.
        A disconnect cannot be undone: the two entities have to be connected anew.
      |||,
      dashboard: 'connections',
    },

    {
      alert: 'ExpectedConnectionMissing',
      expr: 'target:saas_connection_expected_present:last == 0',
      'for': '5m',
      keep_firing_for: '15m',
      severity: 'critical',
      summary: '{{ $labels.target }} of {{ $labels.account }} has no connection {{ if eq $labels.system "zuora" }}with {{ end }}{{ $labels.expected }}',
      description: |||
        The configuration expects a connection {{ if eq $labels.system "zuora" }}with entity {{ end }}{{ $labels.expected }} at {{ $labels.target }}
        (account {{ $labels.account }}, {{ $labels.system }}), and the last complete listing has none{{ if eq $labels.system "zuora" }} that is connected{{ end }}.
      |||,
      dashboard: 'target',
    },

    // Names may change, and are no labels here.
    // Connections of ZIS have no status, and there may be very many.
    {
      alert: 'ConnectionPending',
      expr: |||
        group without (instance, pod, target, connection_type, %s) (
            saas_connection_info{status="pending"}
          and ignoring (%s)
            (saas_connection_status_changed_timestamp_seconds or saas_connection_first_seen_timestamp_seconds{system!="zis"}) < time() - @pendingDays@ * 86400
        )
      ||| % [info.labels(['status', 'source_entity', 'target_entity']), info.labels()],
      keep_firing_for: '15m',
      severity: 'warning',
      summary: 'Connection {{ $labels.connection }} of {{ $labels.account }} has been waiting for its acceptance for @pendingDays@ days or more',
      description: |||
        {{ $info := printf "saas_connection_info{job=%q,system=%q,account=%q,connection=%q}" $labels.job $labels.system $labels.account $labels.connection | query -}}
        Connection {{ $labels.connection }} of account {{ $labels.account }} ({{ $labels.system }})
        {{- with $info }}{{ with first . }} from {{ or (label "source_entity_name" .) (label "source_entity" .) }} to {{
        or (label "target_entity_name" .) (label "target_entity" .) }}{{ end }}{{ end }} has been pending for @pendingDays@ days or more:
        the other entity has neither accepted nor denied it.
      |||,
      dashboard: 'connections',
    },

    // Half of them or more, and at least three; or all.
    {
      alert: 'ConnectionsFell',
      expr: |||
        (
            target:saas_connections:usable <= (1 - @fellFraction@) * max_over_time(target:saas_connections:usable[1d])
          and
            max_over_time(target:saas_connections:usable[1d]) - target:saas_connections:usable >= @fellMinimum@
        )
        or
        (
            target:saas_connections:usable == 0
          and
            max_over_time(target:saas_connections:usable[1d]) > 0
        )
      |||,
      keep_firing_for: '6h',
      severity: 'warning',
      summary: '{{ $labels.target }} of {{ $labels.account }} has lost many of its connections',
      description: |||
        {{ $labels.target }} (account {{ $labels.account }}, {{ $labels.system }}) holds {{ $value }} usable connection{{ if ne $value 1.0 }}s{{ end }}{{
        with printf "max_over_time(target:saas_connections:usable{job=%q,system=%q,account=%q,target=%q}[1d])" $labels.job $labels.system $labels.account $labels.target | query
        }} and held {{ . | first | value }} within the last day{{ end }}.
      |||,
      dashboard: 'target',
    },

    // 1809043200 is 2027-04-30, when the vendor's API tokens end.
    {
      alert: 'BasicAuthConnections',
      expr: 'max without (instance, pod) (saas_connections{system="zis", connection_type="basic_auth"}) > 0',
      keep_firing_for: '1h',
      severity: 'info',
      summary: '{{ $labels.target }} of {{ $labels.account }} holds basic_auth connections; API tokens end on 2027-04-30',
      description: |||
        {{ $labels.target }} (account {{ $labels.account }}, {{ $labels.system }}) holds {{ $value }} basic_auth connection{{ if ne $value 1.0 }}s{{ end }}.
        One that signs in to Zendesk with an API token dies on 2027-04-30, when all API tokens stop working{{ with query "1809043200 - time()"
        }}{{ $left := . | first | value }}{{ if gt $left 0.0 }}: that is in {{ $left | humanizeDuration | reReplaceAll " [0-9]+h [0-9]+m [0-9]+s$" "" }}{{ else
        }}: that date is past{{ end }}{{ end }}. Replace it with OAuth.
      |||,
      dashboard: 'target',
    },

    // Zendesk ends all API tokens on 2027-04-30 (1809043200).
    {
      alert: 'ConnectionApiTokenEnding',
      expr: apiTokens + |||
        and on ()
          (vector(time()) > 1809043200 - @apiTokenEndingDays@ * 86400)
      |||,
      keep_firing_for: '1h',
      severity: 'warning',
      summary: apiTokenSummary,
      description: apiTokenDescription,
      dashboard: 'target',
    },

    // A week after the end the page stops and the warning stays.
    {
      alert: 'ConnectionApiTokenEndImminent',
      expr: apiTokens + |||
        and on ()
          (vector(time()) > 1809043200 - @apiTokenEndImminentDays@ * 86400 < 1809043200 + 7 * 86400)
      |||,
      keep_firing_for: '1h',
      severity: 'critical',
      summary: apiTokenSummary,
      description: apiTokenDescription,
      dashboard: 'target',
    },

    {
      alert: 'ConnectionsUnknownValues',
      expr: 'sum without (instance, pod) (increase(connections_exporter_unknown_values_total[1h])) > 0',
      keep_firing_for: '1h',
      severity: 'info',
      summary: '{{ $labels.account }} holds values of {{ $labels.field }} that no document of the vendor knows',
      description: |||
        Listings of account {{ $labels.account }} ({{ $labels.system }}) have values of {{ $labels.field }} that are not documented. They are shown as
        "other": alerts on documented values do not see them.
      |||,
      dashboard: 'connections',
    },
  ],
}
