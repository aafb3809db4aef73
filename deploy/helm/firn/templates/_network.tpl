{{/* Who speaks to whom, as peers and rules of NetworkPolicies. */}}

{{/* Pods that the operator makes for jobs. */}}
{{- define "firn.workersOfJobs" -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: firn-worker
  {{- if .Values.watchAllNamespaces }}
  namespaceSelector: {}
  {{- else }}
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values:
          {{- .Values.namespaces | uniq | toYaml | nindent 10 }}
  {{- end }}
{{- end }}

{{/* Workers of the pools, seen from anywhere. */}}
{{- define "firn.workersOfPools" -}}
- podSelector:
    matchLabels:
      {{- include "firn.selector" (list . "pool") | nindent 6 }}
  namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .Release.Namespace }}
{{- end }}

{{/* Egress to the coordinator, and to whoever knows its address. */}}
{{- define "firn.toCoordinator" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "firn.selector" (list . "coordinator") | nindent 10 }}
      namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .Release.Namespace }}
  ports:
    - {port: 7070, protocol: TCP}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}
