{{/* The operator's settings: what workers' pods are, where a FineTuneJob says nothing else. */}}
{{- define "firn.workerSettings" -}}
image: {{ include "firn.image" (list . .Values.workers.image) }}
coordinator: {{ include "firn.url" . }}
authority: /etc/firn/client/ca.crt
{{- if .Values.certificates.mutual }}
certificate: /etc/firn/worker
{{- end }}
user: {{ .Values.user | toJson }}
graceSeconds: {{ .Values.workers.graceSeconds }}
startDeadlineSeconds: {{ .Values.workers.startDeadlineSeconds }}
{{- if .Values.networkPolicy.enabled }}
egress:
  {{- include "firn.toCoordinator" . | nindent 2 }}
  {{- if .Values.pools }}
  - to:
      {{- include "firn.workersOfPools" . | nindent 6 }}
  {{- end }}
  {{- with .Values.networkPolicy.workersEgress }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if .Values.pools }}
{{- /* A gang may have workers of its own and of pools. */}}
ingress:
  - from:
      {{- include "firn.workersOfPools" . | nindent 6 }}
{{- end }}
{{- end }}
{{- end }}
