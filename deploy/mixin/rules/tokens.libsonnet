// What the exporter has seen of each token is in its own metrics, so no rule looks back. Dates of
// renewals are compared with the last complete listing, not with now: a renewal that nobody could
// see is not missing.
local info = import 'info.libsonnet';

// Connections whose tokens come from this grant.
local granted(grant) =
  'group without (instance, pod, %s) (saas_connection_info{grant_type="%s"})' % [info.labels(), grant];

// Expiry of the tokens that nothing is known to renew: no refresh token is stored, the grant is not
// client_credentials, and they were not renewed twice, the last time after the end.
local unrenewed = |||
  max without (instance, pod) (saas_connection_token_expiry_timestamp_seconds)
  and
    max without (instance, pod) (saas_connection_refresh_token_stored) == 0
  unless
    %s
  unless (
      max without (instance, pod) (saas_connection_token_longest_renewal_gap_seconds)
    and
      max without (instance, pod) (saas_connection_token_last_renewal_lead_seconds) < 0
  )
||| % granted('client_credentials');

// Continues an expression: the last recorded value stays while a target has no listing, as long as
// the exporter polls it.
local lasting(record) = |||
  or
    %s
  and ignoring (connection, connection_type)
    max without (instance, pod) (last_over_time(connections_exporter_target_poll_interval_seconds[15m]))
  unless ignoring (connection, connection_type)
    group without (instance, pod, connection_type, status) (saas_connections)
||| % record;

// Texts that a warning and its critical alert share.
local expiryDescription = |||
  The OAuth token of connection {{ $labels.connection }} of {{ $labels.target }} (account {{ $labels.account }}, {{ $labels.system }})
  {{ if lt $value 0.0 }}expired {{ $value | humanizeDuration | reReplaceAll "^-| [0-9]+s$" "" }} ago{{ else }}expires in {{ $value | humanizeDuration | reReplaceAll " [0-9]+s$" "" }}{{ end }}.
  No refresh token is stored with it, and nothing was seen to renew it by itself: unless somebody replaces it, the connection dies with it.
|||;
local renewalDescription = |||
  The OAuth token of connection {{ $labels.connection }} of {{ $labels.target }} (account {{ $labels.account }}, {{ $labels.system }})
  was renewed regularly and is not renewed any more: the next renewal was due {{ $value | humanizeDuration | reReplaceAll " [0-9]+s$" "" }} ago and more.
  {{ with printf "saas_connection_token_last_renewal_timestamp_seconds{job=%q,system=%q,account=%q,target=%q,connection=%q}" $labels.job $labels.system $labels.account $labels.target $labels.connection | query
  }}The last renewal was seen on {{ . | first | value | humanizeTimestamp | reReplaceAll ":[0-9]+\\.?[0-9]* .*$" "" }} UTC. {{ end
  }}Either nothing uses the connection any more, or it cannot renew its token and is dead.
|||;
local credentialDescription = |||
  The token that the exporter uses for {{ $labels.credential }} of account {{ $labels.account }} ({{ $labels.system }})
  {{ if lt $value 0.0 }}expired {{ $value | humanizeDuration | reReplaceAll "^-| [0-9]+s$" "" }} ago{{ else }}expires in {{ $value | humanizeDuration | reReplaceAll " [0-9]+s$" "" }}{{ end }}, and the exporter cannot renew it:
  {{ if lt $value 0.0 }}its targets cannot be listed until another one is in its secret file{{ else }}without another one in its secret file its targets cannot be listed after that{{ end }}.
|||;

{
  name: 'connections-exporter.tokens',
  rules: [
    {
      record: 'connection:saas_connection_token_expiry_timestamp_seconds:unrenewed',
      expr: unrenewed + lasting('connection:saas_connection_token_expiry_timestamp_seconds:unrenewed'),
    },

    // Of those, the tokens that have to be replaced before they expire. Not of a lifetime of less
    // than a day, unless the grant is authorization_code: tokens of client_credentials are mostly
    // short-lived, and ConnectionTokenExpired reports the others. Not tokens that had expired before
    // they were seen. The record above is not used here: a token that was renewed after it was
    // recorded would have its old expiry and its new lifetime. While a target has no listing, the
    // grant is not known, so this decision stays, too.
    {
      record: 'connection:saas_connection_token_expiry_timestamp_seconds:to_replace',
      expr: unrenewed + |||
        unless (
            max without (instance, pod) (saas_connection_token_seen_lifetime_seconds) < @tokenShortLivedHours@ * 3600
          unless
            %s
        )
        unless
          max without (instance, pod) (saas_connection_token_seen_lifetime_seconds) <= 0
      ||| % granted('authorization_code') + lasting('connection:saas_connection_token_expiry_timestamp_seconds:to_replace'),
    },

    // Seconds by which a renewal is late: since the last one, more than the longest gap and twice
    // as much again (at least one hour, at most three days) have passed. Only for tokens that are
    // renewed regularly: a gap of a day or more was seen, or three of the longest gap. Not for
    // tokens that somebody renews by hand near their end.
    {
      record: 'connection:saas_connection_token_renewal_late_seconds',
      expr: |||
        (
            max without (instance, pod) (connections_exporter_target_last_success_timestamp_seconds)
            - ignoring (connection, connection_type) group_right ()
              max without (instance, pod) (saas_connection_token_last_renewal_timestamp_seconds)
          - max without (instance, pod) (saas_connection_token_longest_renewal_gap_seconds)
          - clamp_max(clamp_min(2 * max without (instance, pod) (saas_connection_token_longest_renewal_gap_seconds), @renewalLateMinHours@ * 3600), @renewalLateMaxDays@ * 86400)
        ) > 0
        unless (
              max without (instance, pod) (saas_connection_token_last_renewal_timestamp_seconds)
              - max without (instance, pod) (saas_connection_first_seen_timestamp_seconds{connection_type="oauth"})
            < 3 * max without (instance, pod) (saas_connection_token_longest_renewal_gap_seconds)
          and
            max without (instance, pod) (saas_connection_token_longest_renewal_gap_seconds) < 86400
        )
        unless (
            connection:saas_connection_token_expiry_timestamp_seconds:unrenewed
          and
              max without (instance, pod) (saas_connection_token_longest_renewal_gap_seconds)
            >
              0.5 * max without (instance, pod) (saas_connection_token_seen_lifetime_seconds)
        )
      |||,
    },

    // Of the exporter's own tokens, those that it cannot renew by itself, and that nothing else
    // replaced within 26 hours. A failed scrape within the time of the alerts changes nothing.
    {
      record: 'credential:connections_exporter_credential_expires_in_seconds:unrenewed',
      expr: |||
        max without (instance, pod) (last_over_time(connections_exporter_credential_expiry_timestamp_seconds[15m])) - time()
        and
          max without (instance, pod) (last_over_time(connections_exporter_credential_renewable[15m])) == 0
        unless
            max without (instance, pod) (last_over_time(connections_exporter_credential_expiry_timestamp_seconds[15m]))
          >
            min without (instance, pod) (min_over_time(connections_exporter_credential_expiry_timestamp_seconds[26h]))
      |||,
    },

    // The last third of the lifetime, but at least a day and a half, and at most a week.
    {
      alert: 'ConnectionTokenExpiring',
      expr: |||
        connection:saas_connection_token_expiry_timestamp_seconds:to_replace - time()
        < clamp_max(clamp_min(max without (instance, pod) (last_over_time(saas_connection_token_seen_lifetime_seconds[15m])) / 3, @tokenExpiringMinHours@ * 3600), @tokenExpiringMaxDays@ * 86400)
        > -604800
      |||,
      keep_firing_for: '15m',
      severity: 'warning',
      summary: 'The token of {{ $labels.connection }} {{ if lt $value 0.0 }}has expired{{ else }}expires{{ end }} and nothing renews it',
      description: expiryDescription,
      dashboard: 'target',
    },

    {
      alert: 'ConnectionTokenExpiryImminent',
      expr: |||
        connection:saas_connection_token_expiry_timestamp_seconds:to_replace - time() < @tokenExpiryImminentHours@ * 3600 > -604800
      |||,
      keep_firing_for: '15m',
      severity: 'critical',
      summary: 'The token of {{ $labels.connection }} {{ if lt $value 0.0 }}has expired{{ else }}expires{{ end }} and nothing renews it',
      description: expiryDescription,
      dashboard: 'target',
    },

    {
      alert: 'ConnectionTokenExpired',
      expr: 'connection:saas_connection_token_expiry_timestamp_seconds:unrenewed - time() < -86400',
      keep_firing_for: '15m',
      severity: 'warning',
      summary: 'The token of {{ $labels.connection }} has expired and nothing renewed it',
      description: |||
        The OAuth token of connection {{ $labels.connection }} of {{ $labels.target }} (account {{ $labels.account }}, {{ $labels.system }})
        expired {{ $value | humanizeDuration | reReplaceAll "^-| [0-9]+s$" "" }} ago and was not renewed. No refresh token is stored with it. Either the connection is dead, or it is one of
        client_credentials that nothing has used since.
      |||,
      dashboard: 'target',
    },

    {
      alert: 'ConnectionTokenRenewalLate',
      expr: 'connection:saas_connection_token_renewal_late_seconds',
      keep_firing_for: '15m',
      severity: 'warning',
      summary: 'The token of {{ $labels.connection }} is not renewed any more',
      description: renewalDescription,
      dashboard: 'target',
    },

    // A day after ConnectionTokenRenewalLate, for a week. After that the warning stays.
    {
      alert: 'ConnectionTokenRenewalStopped',
      expr: 'connection:saas_connection_token_renewal_late_seconds > @renewalStoppedHours@ * 3600 < @renewalStoppedHours@ * 3600 + 604800',
      keep_firing_for: '15m',
      severity: 'critical',
      summary: 'The token of {{ $labels.connection }} has not been renewed for @renewalStoppedHours@ hours after it was due',
      description: renewalDescription,
      dashboard: 'target',
    },

    // Two thirds of the lifetime of a refresh token, which is 30 days by default at Zendesk. Before
    // the first renewal it counts from when the connection was first seen, or from the expiry of
    // its access token if that is earlier. Only OAuth connections have tokens: the others, of which
    // there may be very many, are left out by the type.
    {
      alert: 'ConnectionRefreshTokenIdle',
      expr: |||
        (
              max without (instance, pod) (saas_connection_token_last_renewal_timestamp_seconds)
            or
                max without (instance, pod) (saas_connection_token_expiry_timestamp_seconds)
              <
                max without (instance, pod) (saas_connection_first_seen_timestamp_seconds{connection_type="oauth"})
            or
              max without (instance, pod) (saas_connection_first_seen_timestamp_seconds{connection_type="oauth"})
        )
        + @refreshTokenLifetimeDays@ * 86400 - time() < @refreshTokenLifetimeDays@ * 86400 / 3
        and
          max without (instance, pod) (saas_connection_refresh_token_stored) == 1
      |||,
      keep_firing_for: '15m',
      severity: 'warning',
      summary: 'The refresh token of {{ $labels.connection }} {{ if lt $value 0.0 }}has probably expired{{ else }}expires unless the connection is used{{ end }}',
      description: |||
        The OAuth token of connection {{ $labels.connection }} of {{ $labels.target }} (account {{ $labels.account }}, {{ $labels.system }})
        has not been renewed for most of the lifetime of its refresh token.
        A refresh token that is not used expires after @refreshTokenLifetimeDays@ days
        {{- if lt $value 0.0 }}, which was {{ $value | humanizeDuration | reReplaceAll "^-| [0-9]+s$" "" }} ago{{ else }}, which is in {{ $value | humanizeDuration | reReplaceAll " [0-9]+s$" "" }}{{ end }}:
        {{ if lt $value 0.0 }}the connection is probably dead, and has to be authorized again{{ else }}use the connection before, or it has to be authorized again{{ end }}.
      |||,
      dashboard: 'target',
    },

    // Not replaced for a day. `for` would begin anew after each failed scrape.
    {
      alert: 'ConnectionsCredentialExpiring',
      expr: |||
        credential:connections_exporter_credential_expires_in_seconds:unrenewed < @credentialExpiringDays@ * 86400
        and
          abs(
            max without (instance, pod) (last_over_time(connections_exporter_credential_expiry_timestamp_seconds[15m]))
            - max without (instance, pod) (last_over_time(connections_exporter_credential_expiry_timestamp_seconds[2h] offset 1d))
          ) < 60
      |||,
      keep_firing_for: '30m',
      severity: 'warning',
      summary: "The exporter's own token for {{ $labels.credential }} of {{ $labels.account }} {{ if lt $value 0.0 }}has expired{{ else }}expires{{ end }}",
      description: credentialDescription,
      dashboard: 'account',
    },

    // The vendor's tokens live for at most 48 hours. A token that is replaced once a day or more often
    // raises nothing until 26 hours after the last replacement. A token that was never replaced has an
    // hour.
    {
      alert: 'ConnectionsCredentialExpiryImminent',
      expr: |||
        credential:connections_exporter_credential_expires_in_seconds:unrenewed < @credentialExpiryImminentHours@ * 3600
        and
          abs(
            max without (instance, pod) (last_over_time(connections_exporter_credential_expiry_timestamp_seconds[15m]))
            - max without (instance, pod) (last_over_time(connections_exporter_credential_expiry_timestamp_seconds[2h] offset 1h))
          ) < 60
      |||,
      keep_firing_for: '30m',
      severity: 'critical',
      summary: "The exporter's own token for {{ $labels.credential }} of {{ $labels.account }} {{ if lt $value 0.0 }}has expired{{ else }}expires{{ end }}",
      description: credentialDescription,
      dashboard: 'account',
    },
  ],
}
