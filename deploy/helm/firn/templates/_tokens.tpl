{{/*
Tokens. Each is made once: what stands in its Secret already, from an earlier version of the chart or from somebody who rotated it, is kept.
Workers of jobs have tokens of their own, which the operator has issued.
*/}}

{{/* The token in a Secret, or a new one. (list $ "name") */}}
{{- define "firn.token" -}}
{{- $secret := lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1) | default dict -}}
{{- $kept := dig "data" "token" "" $secret -}}
{{- if $kept }}{{ b64dec $kept | trim }}{{ else }}{{ randAlphaNum 48 }}{{ end }}
{{- end }}

{{/* What all Secrets of the chart have: they stay when it is uninstalled, so that one that is installed again finds what it had. */}}
{{- define "firn.kept" -}}
labels:
  {{- include "firn.labels" . | nindent 2 }}
annotations:
  helm.sh/resource-policy: keep
{{- end }}

{{/* Who bears a token, and its rights: a list of {name, rights}. */}}
{{- define "firn.bearers" -}}
- name: {{ include "firn.admin" . }}
  rights: role=administrator
{{- /* It issues the tokens of workers. */}}
- name: {{ include "firn.operator" . }}
  rights: role=administrator
{{- range .Values.pools }}
- name: {{ include "firn.name" $ }}-pool-{{ .name }}
  rights: role=agent{{ with .namespace }} namespace={{ . }}{{ end }}
{{- end }}
{{- end }}
