{{/* What things are called, and which labels they bear. */}}

{{- define "firn.name" -}}
{{- $name := .Values.nameOverride | default .Release.Name -}}
{{- ternary $name (printf "%s-firn" $name) (contains "firn" $name) | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "firn.coordinator" }}{{ include "firn.name" . }}-coordinator{{ end }}
{{- define "firn.operator" }}{{ include "firn.name" . }}-operator{{ end }}

{{/* Secrets. Their names do not depend on how they are made. */}}
{{- define "firn.tokens" }}{{ include "firn.name" . }}-tokens{{ end }}
{{- define "firn.admin" }}{{ include "firn.name" . }}-admin{{ end }}
{{- define "firn.authority" }}{{ include "firn.name" . }}-authority{{ end }}
{{- define "firn.worker" }}{{ include "firn.name" . }}-worker{{ end }}

{{/* Under which everybody in the cluster reaches the coordinator. */}}
{{- define "firn.host" }}{{ include "firn.coordinator" . }}.{{ .Release.Namespace }}.svc{{ end }}
{{- define "firn.url" }}https://{{ include "firn.host" . }}:{{ .Values.coordinator.service.port }}{{ end }}

{{/* Labels of everything. */}}
{{- define "firn.labels" -}}
app.kubernetes.io/part-of: firn
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels by which pods are found: these never change. (list $ "coordinator") */}}
{{- define "firn.selector" -}}
app.kubernetes.io/name: firn-{{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}

{{/* An image. (list $ values) */}}
{{- define "firn.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end }}
{{- end }}
