{{/*
Stops with all contradictions between values at once. What a single value may be is in
values.schema.json.
*/}}
{{- define "connections-exporter.validate" -}}
{{- $errors := list -}}
{{- $v := .Values -}}
{{- $demo := include "connections-exporter.demo" . -}}

{{- if and $v.config $v.existingConfigMap -}}
{{- $errors = append $errors "config and existingConfigMap: both are set; set one of them" -}}
{{- else if and $v.config (not (or $v.config.zuora $v.config.zis)) -}}
{{- $errors = append $errors "config: no accounts; set config.zuora, config.zis or both to a list of accounts" -}}
{{- else if not (or $v.config $v.existingConfigMap $demo) -}}
{{- $errors = append $errors "config: it is empty; set config, or existingConfigMap to the name of a ConfigMap with the key config.yaml, or extraArgs to [demo] to try the chart without accounts" -}}
{{- end -}}

{{- $reserved := dict
      "--config.file" "use config or existingConfigMap"
      "--state.dir" "use persistence"
      "--shard.index" "use replicas"
      "--shard.total" "use replicas"
      "--web.config.file" "use web"
      "--web.listen-address" "the container listens on port 9932; use service.port"
      "--web.systemd-socket" "there is no systemd in a container"
      "--web.telemetry-path" "the path is /metrics" -}}
{{- /* A variable would count, too, unless the chart sets the flag. */ -}}
{{- $variables := dict -}}
{{- range $flag, $remedy := $reserved -}}
{{- $name := $flag | trimPrefix "--" | upper | replace "." "_" | replace "-" "_" -}}
{{- $_ := set $variables (printf "%s_%s" "CONNECTIONS_EXPORTER" $name) $remedy -}}
{{- end -}}
{{- range $index, $variable := $v.extraEnv -}}
{{- with get $variables $variable.name -}}
{{- $errors = append $errors (printf "extraEnv[%d]: %s is set by the chart; %s" $index $variable.name .) -}}
{{- end -}}
{{- end -}}
{{- range $index, $argument := $v.extraArgs -}}
{{- $flag := first (splitList "=" $argument) -}}
{{- with get $reserved $flag -}}
{{- $errors = append $errors (printf "extraArgs[%d]: %s is set by the chart; %s" $index $flag .) -}}
{{- end -}}
{{- end -}}

{{- if and $v.web.config $v.web.existingSecret -}}
{{- $errors = append $errors "web.config and web.existingSecret: both are set; set one of them" -}}
{{- end -}}
{{- if and $v.web.existingSecret (not $v.web.scheme) -}}
{{- $errors = append $errors "web.scheme: required with web.existingSecret, which the chart cannot read; set HTTP or HTTPS" -}}
{{- end -}}

{{- $monitors := list -}}
{{- range $name := list "podMonitor" "serviceMonitor" "scrapeConfig" -}}
{{- if (index $v $name).enabled -}}
{{- $monitors = append $monitors (printf "%s.enabled" $name) -}}
{{- end -}}
{{- end -}}
{{- if gt (len $monitors) 1 -}}
{{- $errors = append $errors (printf "%s: more than one is true, so every series would exist twice; enable one of podMonitor.enabled, serviceMonitor.enabled, scrapeConfig.enabled" (join " and " $monitors)) -}}
{{- end -}}
{{- $headless := and (eq $v.service.type "ClusterIP") (eq $v.service.clusterIP "None") -}}
{{- if and $v.scrapeConfig.enabled (gt (int $v.replicas) 1) (not $headless) -}}
{{- $errors = append $errors "scrapeConfig.enabled: with more than one replica, each pod needs a DNS name; set service.type to ClusterIP and service.clusterIP to None" -}}
{{- end -}}
{{- if and $v.service.nodePort (eq $v.service.type "ClusterIP") -}}
{{- $errors = append $errors "service.nodePort: not for service.type ClusterIP; set service.type to NodePort or LoadBalancer" -}}
{{- end -}}

{{- if $v.persistence.existingClaim -}}
{{- if gt (int $v.replicas) 1 -}}
{{- $errors = append $errors "persistence.existingClaim: only one process can use a state directory; set replicas to 1, or persistence.existingClaim to \"\"" -}}
{{- end -}}
{{- if not $v.persistence.enabled -}}
{{- $errors = append $errors "persistence.existingClaim: it is set, but persistence.enabled is false; set persistence.enabled to true" -}}
{{- end -}}
{{- end -}}

{{- if $v.podDisruptionBudget.enabled -}}
{{- /* 0 is a value, and null is none. */ -}}
{{- $max := not (has (toString $v.podDisruptionBudget.maxUnavailable) (list "" "<nil>")) -}}
{{- $min := not (has (toString $v.podDisruptionBudget.minAvailable) (list "" "<nil>")) -}}
{{- if and $max $min -}}
{{- $errors = append $errors "podDisruptionBudget.maxUnavailable and minAvailable: both are set; set one of them to \"\"" -}}
{{- else if not (or $max $min) -}}
{{- $errors = append $errors "podDisruptionBudget.maxUnavailable and minAvailable: neither is set; set one of them, or podDisruptionBudget.enabled to false" -}}
{{- end -}}
{{- end -}}

{{- range $index, $volume := $v.extraVolumes -}}
{{- if has $volume.name (list "config" "secrets" "state" "tls" "web") -}}
{{- $errors = append $errors (printf "extraVolumes[%d].name: %s is a volume of the chart; allowed: other names than config, secrets, state, tls, web" $index $volume.name) -}}
{{- end -}}
{{- end -}}

{{- if $errors -}}
{{- fail (printf "\n\nThe values contradict each other:\n- %s\n" (join "\n- " $errors)) -}}
{{- end -}}
{{- end -}}
