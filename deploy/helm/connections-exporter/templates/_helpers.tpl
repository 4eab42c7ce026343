{{/*
Name of the chart in labels.
*/}}
{{- define "connections-exporter.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/*
Name of the objects. It is at most 52 characters, because Kubernetes appends a hash to a
StatefulSet's name for a label, and the name of a Service: it begins with a letter and has no dots.
A longer one is cut and ends in a hash, so that two long names stay different.
*/}}
{{- define "connections-exporter.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := include "connections-exporter.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $full = $full | replace "." "-" -}}
{{- if not (regexMatch "^[a-z]" $full) -}}
{{- $full = printf "r-%s" $full -}}
{{- end -}}
{{- if gt (len $full) 52 -}}
{{- $full = printf "%s-%s" ($full | trunc 43 | trimSuffix "-") (sha256sum $full | trunc 8) -}}
{{- end -}}
{{- $full -}}
{{- end -}}
{{- end -}}

{{- define "connections-exporter.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace -}}
{{- end -}}

{{/*
The entries of several maps of texts, of which later ones win. `merge` would not let "" win.
*/}}
{{- define "connections-exporter.merged" -}}
{{- $all := dict -}}
{{- range . -}}
{{- range $name, $value := . -}}
{{- $_ := set $all $name $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/*
Labels by which objects find the pods. They can never change.
*/}}
{{- define "connections-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "connections-exporter.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/*
Labels of an object. Takes a dict: `context`, and further labels in `labels`. The chart's own win,
because the operator's must not change what selectors find.
*/}}
{{- define "connections-exporter.labels" -}}
{{- $context := .context -}}
{{- $chart := printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- $own := dict
      "helm.sh/chart" $chart
      "app.kubernetes.io/version" ($context.Chart.AppVersion | replace "+" "_" | trunc 63)
      "app.kubernetes.io/managed-by" $context.Release.Service -}}
{{- $selector := include "connections-exporter.selectorLabels" $context | fromYaml -}}
{{- include "connections-exporter.merged" (list $context.Values.commonLabels .labels $own $selector) -}}
{{- end -}}

{{/*
Metadata of an object. Takes a dict: `context`, `name`, and optionally `namespace`, `labels` and
`annotations`.
*/}}
{{- define "connections-exporter.metadata" -}}
name: {{ .name | quote }}
namespace: {{ .namespace | default (include "connections-exporter.namespace" .context) | quote }}
labels:
  {{- include "connections-exporter.labels" . | nindent 2 }}
{{- if or .annotations .context.Values.commonAnnotations }}
annotations:
  {{- include "connections-exporter.merged" (list .context.Values.commonAnnotations .annotations) | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "connections-exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "connections-exporter.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "connections-exporter.image" -}}
{{- $image := .Values.image -}}
{{- $tag := $image.tag -}}
{{- if not (or $tag $image.digest) -}}
{{- $tag = .Chart.AppVersion -}}
{{- end -}}
{{- $image.repository -}}
{{- with $tag }}:{{ . }}{{ end -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/*
Not empty if the command `demo` runs, which needs no configuration.
*/}}
{{- define "connections-exporter.demo" -}}
{{- if has "demo" (.Values.extraArgs | default list) -}}true{{- end -}}
{{- end -}}

{{/*
The web configuration file, with the certificate of `web.tlsSecret` unless it names another. Empty
if there is none, or if it is in an existing Secret.
*/}}
{{- define "connections-exporter.webConfig" -}}
{{- $config := deepCopy (.Values.web.config | default dict) -}}
{{- if and .Values.web.tlsSecret (not .Values.web.existingSecret) -}}
{{- $tls := $config.tls_server_config | default dict -}}
{{- if not (or $tls.cert $tls.cert_file $tls.key $tls.key_file) -}}
{{- $_ := set $tls "cert_file" "/etc/connections-exporter-tls/tls.crt" -}}
{{- $_ := set $tls "key_file" "/etc/connections-exporter-tls/tls.key" -}}
{{- $_ := set $config "tls_server_config" $tls -}}
{{- end -}}
{{- end -}}
{{- if $config -}}
{{- toYaml $config -}}
{{- end -}}
{{- end -}}

{{/*
Name of the Secret with the web configuration file. Empty if there is none.
*/}}
{{- define "connections-exporter.webSecret" -}}
{{- if .Values.web.existingSecret -}}
{{- .Values.web.existingSecret -}}
{{- else if include "connections-exporter.webConfig" . -}}
{{- include "connections-exporter.fullname" . }}-web
{{- end -}}
{{- end -}}

{{/*
http or https.
*/}}
{{- define "connections-exporter.scheme" -}}
{{- $config := include "connections-exporter.webConfig" . | fromYaml -}}
{{- .Values.web.scheme | default (ternary "HTTPS" "HTTP" (not (empty $config.tls_server_config))) | lower -}}
{{- end -}}

{{/*
A probe. Takes a dict: `context`, `probe`, and the `path` to ask if the probe has no handler.
*/}}
{{- define "connections-exporter.probe" -}}
{{- $probe := omit .probe "enabled" -}}
{{- if not (or $probe.httpGet $probe.tcpSocket $probe.exec $probe.grpc) -}}
{{- $tls := (.context.Values.web.config | default dict).tls_server_config | default dict -}}
{{- if has $tls.client_auth_type (list "RequireAnyClientCert" "RequireClientCert" "RequireAndVerifyClientCert") -}}
{{- $probe = merge (dict "tcpSocket" (dict "port" "http")) $probe -}}
{{- else -}}
{{- $get := dict "path" .path "port" "http" -}}
{{- if eq (include "connections-exporter.scheme" .context) "https" -}}
{{- $_ := set $get "scheme" "HTTPS" -}}
{{- end -}}
{{- $probe = merge (dict "httpGet" $get) $probe -}}
{{- end -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}

{{/*
What PodMonitor, ServiceMonitor and ScrapeConfig have in common. Takes a dict: `context`, `monitor`,
and the name of the setting for the interval.
*/}}
{{- define "connections-exporter.scrape" -}}
{{- $settings := dict -}}
{{- with .monitor.interval }}{{ $_ := set $settings $.intervalName . }}{{ end -}}
{{- range $name := list "scrapeTimeout" "tlsConfig" "basicAuth" "relabelings" "metricRelabelings" -}}
{{- with index $.monitor $name }}{{ $_ := set $settings $name . }}{{ end -}}
{{- end -}}
{{- with $settings }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- define "connections-exporter.monitorScheme" -}}
{{- .monitor.scheme | default (include "connections-exporter.scheme" .context) -}}
{{- end -}}

{{/*
Volumes of the pods. There may be none, beside that of the claim.
*/}}
{{- define "connections-exporter.volumes" -}}
{{- if not (include "connections-exporter.demo" .) }}
- name: config
  configMap:
    name: {{ .Values.existingConfigMap | default (include "connections-exporter.fullname" .) | quote }}
{{- end }}
{{- with .Values.existingSecret }}
- name: secrets
  secret:
    secretName: {{ . | quote }}
    # Readable for the group of fsGroup.
    defaultMode: 0440
{{- end }}
{{- with include "connections-exporter.webSecret" . }}
- name: web
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- with .Values.web.tlsSecret }}
- name: tls
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- if not .Values.persistence.enabled }}
- name: state
  emptyDir:
    {{- toYaml (.Values.persistence.emptyDir | default dict) | nindent 4 }}
{{- else if .Values.persistence.existingClaim }}
- name: state
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.existingClaim | quote }}
{{- end }}
{{- with .Values.extraVolumes }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}
