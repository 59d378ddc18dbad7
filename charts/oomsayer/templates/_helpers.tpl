{{/* The chart's name, or what people call it instead. */}}
{{- define "oomsayer.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
The prefix of all names: the release, and the chart where the release does not say it. The longest that follows it is
-operator-metrics, of a Service, whose name has at most 63 characters.
*/}}
{{- define "oomsayer.fullname" -}}
{{- $name := include "oomsayer.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 46 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 46 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 46 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "oomsayer.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "oomsayer.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: oomsayer
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What selects a component's pods: (dict "root" $ "component" "agent"). */}}
{{- define "oomsayer.selectorLabels" -}}
app.kubernetes.io/name: {{ include "oomsayer.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* All labels of a component's objects: (dict "root" $ "component" "agent"). */}}
{{- define "oomsayer.componentLabels" -}}
{{ include "oomsayer.labels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels or annotations, and more of them by people, which win: (dict "own" YAML "more" MAP). No key comes twice. */}}
{{- define "oomsayer.withMore" -}}
{{- toYaml (merge (dict) (default dict .more) (fromYaml .own)) }}
{{- end }}

{{- define "oomsayer.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* A component's service account: (dict "root" $ "component" "agent"). */}}
{{- define "oomsayer.serviceAccountName" -}}
{{- $account := (get .root.Values .component).serviceAccount }}
{{- if $account.name }}
{{- $account.name }}
{{- else if $account.create }}
{{- printf "%s-%s" (include "oomsayer.fullname" .root) .component }}
{{- else }}
{{- fail (printf "%s.serviceAccount.name is empty and %s.serviceAccount.create is false: name an existing account, or let the chart create one" .component .component) }}
{{- end }}
{{- end }}

{{/* How a component is known to the API server: (dict "root" $ "component" "agent"). */}}
{{- define "oomsayer.username" -}}
system:serviceaccount:{{ .root.Release.Namespace }}:{{ include "oomsayer.serviceAccountName" . }}
{{- end }}

{{/* Not configurable on purpose: neither component needs more. */}}
{{- define "oomsayer.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65534
runAsGroup: 65534
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "oomsayer.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities:
  drop: [ALL]
{{- end }}

{{/* A capability reaches only a process of root's: Kubernetes sets no ambient ones. */}}
{{- define "oomsayer.kernelLogSecurityContext" -}}
runAsNonRoot: false
runAsUser: 0
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities:
  drop: [ALL]
  add: [SYSLOG]
{{- end }}

{{/* Generous: under emulation, or on a node in trouble, Python takes a minute to start. */}}
{{- define "oomsayer.probes" -}}
startupProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 36
livenessProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 30
  timeoutSeconds: 15
  failureThreshold: 4
{{- end }}

{{/*
How a component is scraped, (dict "component" "agent" "monitor" VALUES): each agent's series get the name of its node, by
which alerts call it. The operator's have a label of that name already, and are about other pods: namespace, pod and
container are theirs.
*/}}
{{- define "oomsayer.endpoint" -}}
{{- $agent := list (dict "sourceLabels" (list "__meta_kubernetes_pod_node_name") "targetLabel" "node") }}
- port: metrics
  path: /metrics
  interval: {{ .monitor.interval | quote }}
  {{- if eq .component "operator" }}
  honorLabels: true
  {{- end }}
  {{- with concat (ternary $agent list (eq .component "agent")) .monitor.relabelings }}
  relabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .monitor.metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
