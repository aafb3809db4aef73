{{/*
Tokens. Each is made once: what stands in its Secret already, from an earlier version of the chart or from somebody who rotated it, is kept.
*/}}

{{/* The token in a Secret, or a new one. (list $ "namespace" "name") */}}
{{- define "firn.token" -}}
{{- $secret := lookup "v1" "Secret" (index . 1) (index . 2) | default dict -}}
{{- $kept := dig "data" "token" "" $secret -}}
{{- if $kept }}{{ b64dec $kept | trim }}{{ else }}{{ randAlphaNum 48 }}{{ end }}
{{- end }}

{{/* What all Secrets of the chart have: they stay when the chart is uninstalled, so that a chart that is installed again finds its journal readable. */}}
{{- define "firn.kept" -}}
labels:
  {{- include "firn.labels" . | nindent 2 }}
annotations:
  helm.sh/resource-policy: keep
{{- end }}

{{/* Pools that workers' Secrets are made for: a list of {namespace, name, rights}. The workers of jobs get theirs from the operator. */}}
{{- define "firn.workerSecrets" -}}
{{- range .Values.pools }}
- namespace: {{ $.Release.Namespace }}
  name: {{ include "firn.name" $ }}-pool-{{ .name }}
  rights: role=agent{{ with .namespace }} namespace={{ . }}{{ end }}
{{- end }}
{{- end }}
