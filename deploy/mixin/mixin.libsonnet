// The rules and dashboards as a monitoring mixin. Settings, with their defaults, are in values.yaml:
//
//     (import 'mixin.libsonnet') { _config+:: { labels: { team: 'integrations' } } }
{
  _config:: {},
  local all = (import 'rules.libsonnet')($._config),
  // The two parts of a group need names of their own: both may be loaded from one file.
  local only(kind, suffix) = {
    groups: [
      group { name: super.name + suffix, rules: [rule for rule in group.rules if kind in rule] }
      for group in all.groups
      if std.length([rule for rule in group.rules if kind in rule]) > 0
    ],
  },
  prometheusAlerts+:: only('alert', ''),
  prometheusRules+:: only('record', '.rules'),
  grafanaDashboards+:: {
    'connections-exporter-overview.json': import '../../grafana/dashboards/overview.json',
    'connections-exporter-connections.json': import '../../grafana/dashboards/connections.json',
    'connections-exporter-budget.json': import '../../grafana/dashboards/budget.json',
  },
}
