{{/* The operator's settings: what workers' pods are, where a FineTuneJob says nothing else. */}}
{{- define "firn.workerSettings" -}}
image: {{ include "firn.image" (list . .Values.workers.image) }}
coordinator: {{ include "firn.url" . }}
caSecret: {{ include "firn.worker" . }}
tokenSecret: {{ include "firn.worker" . }}
{{- if .Values.certificates.mutual }}
certificateSecret: {{ include "firn.worker" . }}-tls
{{- end }}
graceSeconds: {{ .Values.workers.graceSeconds }}
{{- end }}
