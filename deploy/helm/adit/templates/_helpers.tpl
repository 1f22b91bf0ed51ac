{{- define "adit.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "adit.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 55 | trimSuffix "-" -}}
{{- else if contains (include "adit.name" .) .Release.Name -}}
{{- .Release.Name | trunc 55 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "adit.name" .) | trunc 55 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "adit.selector" -}}
app.kubernetes.io/name: {{ include "adit.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "adit.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "adit.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ .Values.mode }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "adit.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "adit.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "adit.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* The whole configuration: what the chart decides, the connections, and each forward. */}}
{{- define "adit.config" -}}
{{- $sidecar := eq .Values.mode "sidecar" -}}
[admin]
listen = "0.0.0.0:{{ .Values.adminPort }}"

[control]
socket = "/run/adit/control.sock"

[limits]
drain_seconds = {{ .Values.drainSeconds }}
memory_mib = {{ .Values.memoryMib }}
{{- with .Values.handshakes }}
handshakes = {{ . }}
{{- end }}

{{ .Values.config | trim }}
{{ range .Values.forwards }}
[[connection.{{ .connection | default $.Values.connection }}.forward]]
name = {{ .name | quote }}
listen = "{{ ternary "127.0.0.1" "0.0.0.0" $sidecar }}:{{ .port }}"
to = {{ .to | quote }}
transport = {{ .transport | default "tcp" | quote }}
{{- with .gateway }}
gateway = {{ . | quote }}
{{- end }}
{{- with .maxConnections }}
max_connections = {{ . }}
{{- end }}
{{ end }}
{{- end -}}

{{/* New with each content: pods of before keep what they were started with, also where the new one is wrong. */}}
{{- define "adit.configName" -}}
{{ include "adit.fullname" . }}-{{ include "adit.config" . | sha256sum | trunc 10 }}
{{- end -}}

{{/* What the schema cannot see. */}}
{{- define "adit.check" -}}
{{- if gt (add (int .Values.preStopSeconds) (int .Values.drainSeconds) 5) (int64 .Values.terminationGracePeriodSeconds) }}
{{- fail "terminationGracePeriodSeconds must be at least 5 more than preStopSeconds and drainSeconds together" }}
{{- end }}
{{- $names := dict "admin" true }}
{{- $ports := dict (printf "%v/tcp" .Values.adminPort) true }}
{{- $offers := dict }}
{{- range .Values.forwards }}
{{- if hasKey $names .name }}
{{- fail (printf "forwards: the name %s is taken already; give each its own, and none the name admin" .name) }}
{{- end }}
{{- $_ := set $names .name true }}
{{- $port := printf "%v/%s" .port (.transport | default "tcp") }}
{{- if hasKey $ports $port }}
{{- fail (printf "forwards: the port %s is taken already, by another forward or as adminPort" $port) }}
{{- end }}
{{- $_ := set $ports $port true }}
{{- $offer := printf "%v/%s" (.servicePort | default .port) (.transport | default "tcp") }}
{{- if hasKey $offers $offer }}
{{- fail (printf "forwards: the port %s of the Service is taken already" $offer) }}
{{- end }}
{{- $_ := set $offers $offer true }}
{{- include "adit.known" (dict "config" $.Values.config "connection" (.connection | default $.Values.connection)) }}
{{- end }}
{{- with .Values.probes.connection }}
{{- include "adit.known" (dict "config" $.Values.config "connection" .) }}
{{- end }}
{{- end -}}

{{/* Whether the configuration has this connection. */}}
{{- define "adit.known" -}}
{{- if not (regexMatch (printf "(?m)^\\s*\\[\\[?connection\\.[\"']?%s[\"']?[.\\]]" .connection) .config) }}
{{- fail (printf "config has no [connection.%s], which is named by a forward, by `connection` or by `probes.connection`" .connection) }}
{{- end }}
{{- end -}}

{{/* One probe: over HTTP, or by the program itself. */}}
{{- define "adit.probe" -}}
{{- if .root.Values.probes.exec -}}
exec: { command: [/usr/bin/adit, healthcheck, --config, /etc/adit/config/adit.toml{{ with .root.Values.probes.connection }}, --connection, {{ . }}{{ end }}] }
timeoutSeconds: 5
{{- else -}}
httpGet: { path: {{ .path | quote }}, port: admin }
{{- end -}}
{{- end -}}

{{/* The container of the tunnel, in either mode. */}}
{{- define "adit.container" -}}
name: adit
{{- if eq .Values.mode "sidecar" }}
# A native sidecar: it starts before the application, and ends after it.
restartPolicy: Always
{{- end }}
image: {{ include "adit.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [run, --config, /etc/adit/config/adit.toml]
ports:
  {{- if eq .Values.mode "gateway" }}
  {{- range .Values.forwards }}
  - { name: {{ .name }}, containerPort: {{ .port }}, protocol: {{ .transport | default "tcp" | upper }} }
  {{- end }}
  {{- end }}
  - { name: admin, containerPort: {{ .Values.adminPort }}, protocol: TCP }
{{- if and (eq .Values.mode "gateway") (gt (int .Values.preStopSeconds) 0) (semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version) }}
# It goes on until every node knows that it has left the Service; then SIGTERM, and the drain. Kubernetes waits itself: there is no shell.
lifecycle:
  preStop:
    sleep: { seconds: {{ .Values.preStopSeconds }} }
{{- end }}
{{- if eq .Values.mode "sidecar" }}
# An hour, so that a gateway that is down makes no restarts.
startupProbe:
  {{- include "adit.probe" (dict "root" . "path" "/startupz") | nindent 2 }}
  periodSeconds: 2
  failureThreshold: 1800
{{- end }}
{{- if not .Values.probes.exec }}
# Whether the program answers; never whether the VPN does: a restart would not cure that.
livenessProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 10
  failureThreshold: 3
{{- end }}
# Whether the tunnel is up: what balances, and what fails over.
readinessProbe:
  {{- $of := ternary (printf "?connection=%s" .Values.probes.connection) "" (ne .Values.probes.connection "") }}
  {{- include "adit.probe" (dict "root" . "path" (printf "/readyz%s" $of)) | nindent 2 }}
  periodSeconds: 2
  failureThreshold: 1
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- with .Values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - { name: adit-config, mountPath: /etc/adit/config, readOnly: true }
  {{- if .Values.existingSecret }}
  - { name: adit-secrets, mountPath: /etc/adit/secrets, readOnly: true }
  {{- end }}
  - { name: adit-run, mountPath: /run/adit }
{{- end -}}
