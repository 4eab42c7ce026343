// The rules with an operator's values filled in. Takes the content of a values file. With
// `filled=false`, the placeholders stay, also for URLs: the Helm chart fills them in.
local groups = [
  import 'rules/records.libsonnet',
  import 'rules/tokens.libsonnet',
  import 'rules/connections.libsonnet',
  import 'rules/targets.libsonnet',
  import 'rules/budget.libsonnet',
  import 'rules/exporter.libsonnet',
];
local defaults = std.parseYaml(importstr 'values.yaml');
local alerts = std.set([rule.alert for group in groups for rule in group.rules if 'alert' in rule]);

// std.all is newer than the jsonnet of Debian 12.
local every(list) = std.foldl(function(holds, element) holds && element, list, true);
local severities = ['critical', 'info', 'warning'];
// Numbers with units, as in 1h30m or 500ms.
local duration(value) =
  std.isString(value)
  && std.length(value) > 1
  && std.member('0123456789', value[0])
  && std.member('smhdwy', value[std.length(value) - 1])
  && every([
    std.member('0123456789smhdwy', character)
    for character in std.stringChars(value)
  ]);
// std.parseYaml of older versions reads "1" as a number.
local labels(value) = std.isObject(value) && every([
  std.isString(value[name]) || std.isNumber(value[name])
  for name in std.objectFields(value)
]);
// For each setting of an alert: whether a value is allowed, and what is.
local settings = {
  enabled: [std.isBoolean, 'true or false'],
  'for': [duration, 'a duration such as 15m'],
  keep_firing_for: [duration, 'a duration such as 15m'],
  labels: [labels, 'a map of texts'],
  severity: [function(value) std.setMember(value, severities), std.join(', ', severities)],
};

// Stops with a message if a name is not in the list.
local known(place, names, allowed) =
  local unknown = std.setDiff(std.set(names), std.set(allowed));
  if unknown == [] then true
  else error 'values: unknown name "%s" in %s; allowed: %s' % [
    unknown[0],
    place,
    std.join(', ', allowed),
  ];
local expect(place, value, holds, allowed) =
  if holds then true
  else error 'values: %s is %s; allowed: %s' % [place, std.toString(value), allowed];

local checked(values) =
  assert expect('the file', values, std.isObject(values), 'a map');
  assert known('the file', std.objectFields(values), std.objectFields(defaults));
  local all = defaults + values;
  assert expect('labels', all.labels, labels(all.labels), 'a map of texts');
  assert expect('runbookUrl', all.runbookUrl, std.isString(all.runbookUrl), 'a URL');
  assert expect('grafanaUrl', all.grafanaUrl, std.isString(all.grafanaUrl), 'a URL or ""');
  assert expect('alerts', all.alerts, std.isObject(all.alerts), 'a map by alert');
  assert expect('thresholds', all.thresholds, std.isObject(all.thresholds), 'a map');
  assert known('alerts', std.objectFields(all.alerts), alerts);
  assert every([
    local place = 'alerts.' + name;
    local change = all.alerts[name];
    expect(place, change, std.isObject(change), 'a map of ' + std.join(', ', std.objectFields(settings)))
    && known(place, std.objectFields(change), std.objectFields(settings))
    && every([
      expect(place + '.' + key, change[key], settings[key][0](change[key]), settings[key][1])
      for key in std.objectFields(change)
    ])
    for name in std.objectFields(all.alerts)
  ]);
  assert known('thresholds', std.objectFields(all.thresholds), std.objectFields(defaults.thresholds));
  assert every([
    local value = all.thresholds[name];
    expect('thresholds.' + name, value, std.isNumber(value) && value > 0, 'a number above 0')
    for name in std.objectFields(all.thresholds)
  ]);
  all { thresholds: defaults.thresholds + all.thresholds };

function(values={}, filled=true)
  local all = checked(values);

  // Replaces each @name@ by its threshold.
  local fill(text) = if !filled then text else std.join('', std.mapWithIndex(
    function(index, part)
      if index % 2 == 0 then part
      else
        local value = all.thresholds[part];
        if std.isString(value) then value else '%g' % value,
    std.split(text, '@'),
  ));
  // Line breaks of an annotation are spaces.
  local folded(text) = std.join(' ', std.split(std.stripChars(fill(text), '\n'), '\n'));

  local labelled(names) = std.join('&', [
    'var-%s={{ $labels.%s | urlquery }}' % [name, name]
    for name in names
  ]);
  // The page to open, by the word in the rule.
  local pages = {
    target: 'connections?' + labelled(['job', 'system', 'account', 'target']),
    connections: 'connections?' + labelled(['job', 'system', 'account']),
    account: 'budget?' + labelled(['job', 'system', 'account']),
    outage: 'overview?' + labelled(['job', 'system']),
    exporter: 'budget',
  };
  local grafanaDefault =
    '{{ with $externalLabels.grafana_url }}{{ . }}{{ else }}http://localhost:3000{{ end }}';
  local grafana =
    if !filled then '@grafanaUrl@'
    else if all.grafanaUrl != '' then std.rstripChars(all.grafanaUrl, '/')
    else grafanaDefault;
  local runbooks = if filled then std.rstripChars(all.runbookUrl, '/') else '@runbookUrl@';

  local recording(rule) = { record: rule.record, expr: std.stripChars(fill(rule.expr), '\n') };
  local alerting(rule) =
    local change = std.get(all.alerts, rule.alert, {});
    {
      alert: rule.alert,
      expr: std.stripChars(fill(rule.expr), '\n'),
      [if 'for' in rule || 'for' in change then 'for']: std.get(change, 'for', std.get(rule, 'for')),
      [if 'keep_firing_for' in rule || 'keep_firing_for' in change then 'keep_firing_for']:
        std.get(change, 'keep_firing_for', std.get(rule, 'keep_firing_for')),
      labels: std.mapWithKey(
        function(name, value) std.toString(value),
        all.labels + std.get(change, 'labels', {}) + {
          severity: std.get(change, 'severity', rule.severity),
        },
      ),
      annotations: {
        summary: folded(rule.summary),
        description: folded(rule.description),
        runbook_url: '%s/%s.md' % [runbooks, rule.alert],
        dashboard_url: grafana + '/d/connections-exporter-' + pages[rule.dashboard],
      },
    };
  {
    // What grafanaUrl stands for if it is empty.
    grafanaDefault:: grafanaDefault,
    groups: [
      {
        name: group.name,
        rules: [
          if 'record' in rule then recording(rule) else alerting(rule)
          for rule in group.rules
          if 'record' in rule || std.get(std.get(all.alerts, rule.alert, {}), 'enabled', true)
        ],
      }
      for group in groups
    ],
  }
