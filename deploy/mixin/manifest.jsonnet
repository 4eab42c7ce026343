// Prints the rules as YAML:
//
//     jsonnet --string --tla-str-file values=FILE manifest.jsonnet
//
// values: text of a values file. Without it, the defaults hold.
// kubernetes: whether to print a PrometheusRule instead of a rule file of Prometheus.
// chart: whether to print the rules for the Helm chart, which fills in the placeholders.
local made = '# Generated from deploy/mixin. Do not edit: change the values, and generate it again.\n';

// std.manifestYamlDoc of older versions quotes all keys, and puts each text on one line.
local between(from, character, to) = from <= character && character <= to;
local letter(character) = between('a', character, 'z') || between('A', character, 'Z');
// Whether YAML reads it as this text without quotes.
local plain(text) =
  std.length(text) > 0
  && letter(text[0])
  && std.foldl(
    function(holds, character)
      holds && (letter(character) || between('0', character, '9') || character == '_' || character == '-'),
    std.stringChars(text),
    true
  )
  && !std.member(['true', 'false', 'null', 'yes', 'no', 'on', 'off', 'y', 'n'], std.asciiLower(text));
local quoted(text) = if plain(text) then text else std.escapeStringJson(text);

local block(text, indent) =
  ' |-\n' + std.join('\n', [indent + line for line in std.split(text, '\n')]) + '\n';
// A line break in a folded text is a space.
local folded(text, indent) =
  local wrapped = std.foldl(
    function(state, word)
      if state.width > 0 && state.width + 1 + std.length(word) > 110
      then { text: state.text + '\n' + indent + word, width: std.length(word) }
      else {
        text: state.text + (if state.width > 0 then ' ' else '') + word,
        width: state.width + 1 + std.length(word),
      },
    std.split(text, ' '),
    { text: '', width: 0 },
  );
  ' >-\n' + indent + wrapped.text + '\n';

local map(fields, indent, print) = std.join('', [
  indent + quoted(name) + ':' + print(fields[name])
  for name in std.objectFields(fields)
]);
local rule(rule) =
  local kind = if 'alert' in rule then 'alert' else 'record';
  '      - %s: %s\n' % [kind, rule[kind]]
  + '        expr:' + block(rule.expr, '          ')
  + std.join('', [
    '        %s: %s\n' % [key, rule[key]]
    for key in ['for', 'keep_firing_for']
    if key in rule
  ])
  + (
    if kind == 'record' then ''
    else
      '        labels:\n'
      + map(rule.labels, '          ', function(text) ' ' + quoted(text) + '\n')
      + '        annotations:\n'
      + std.join('', [
        '          ' + name + ':' + folded(rule.annotations[name], '            ')
        for name in ['summary', 'description', 'runbook_url', 'dashboard_url']
      ])
  );
local group(group) =
  '  - name: %s\n    rules:\n' % group.name + std.join('\n', [rule(one) for one in group.rules]);
local indented(text) = std.join('\n', [
  if line == '' then '' else '  ' + line
  for line in std.split(text, '\n')
]);

function(values='', kubernetes=false, chart=false)
  local lines = std.filter(
    function(line) line != '' && line[0] != '#',
    [std.stripChars(line, ' \r') for line in std.split(values, '\n')],
  );
  // std.parseYaml ends the process if there is nothing but comments.
  local rules = (import 'rules.libsonnet')(
    if lines == [] then {} else std.parseYaml(values),
    filled=!chart,
  );
  local text = 'groups:\n' + std.join('\n', [group(one) for one in rules.groups]);
  if chart then made + 'grafanaDefault: ' + quoted(rules.grafanaDefault) + '\n' + text
  else if !kubernetes then made + text
  else made + |||
    apiVersion: monitoring.coreos.com/v1
    kind: PrometheusRule
    metadata:
      name: connections-exporter
      labels:
        app.kubernetes.io/name: connections-exporter
    spec:
  ||| + indented(text)
