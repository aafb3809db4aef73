{{/* What all pods have in common: as few rights as the strictest policy allows. */}}

{{/* securityContext of a pod. */}}
{{- define "firn.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.user }}
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* securityContext of a container. */}}
{{- define "firn.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Where pods may run. (list $ values "name") */}}
{{- define "firn.placement" -}}
{{- $root := index . 0 }}{{ $values := index . 1 }}{{ $name := index . 2 -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "firn.selector" (list $root $name) | nindent 8 }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Environment of a client of the coordinator, whose Secrets are mounted below /etc/firn. */}}
{{- define "firn.clientEnv" -}}
- name: FIRN_COORDINATOR
  value: {{ include "firn.url" . }}
- name: FIRN_CA
  value: /etc/firn/client/ca.crt
- name: FIRN_TOKEN_FILE
  value: /etc/firn/client/token
{{- if .Values.certificates.mutual }}
- name: FIRN_CERT
  value: /etc/firn/certificate/tls.crt
- name: FIRN_KEY
  value: /etc/firn/certificate/tls.key
{{- end }}
{{- end }}

{{- define "firn.clientMounts" -}}
- name: client
  mountPath: /etc/firn/client
  readOnly: true
{{- if .Values.certificates.mutual }}
- name: certificate
  mountPath: /etc/firn/certificate
  readOnly: true
{{- end }}
{{- end }}

{{/* (list $ "Secret with the token" "Secret with the certificate" "whether it starts before they are there") */}}
{{- define "firn.clientVolumes" -}}
{{- $mayBeLate := index . 3 -}}
- name: client
  projected:
    defaultMode: 288
    sources:
      - secret:
          name: {{ index . 1 }}
          optional: {{ $mayBeLate }}
          items:
            - {key: token, path: token}
      - secret:
          name: {{ include "firn.coordinator" (index . 0) }}-tls
          optional: {{ $mayBeLate }}
          items:
            - {key: ca.crt, path: ca.crt}
{{- if (index . 0).Values.certificates.mutual }}
- name: certificate
  secret:
    secretName: {{ index . 2 }}
    optional: {{ $mayBeLate }}
    defaultMode: 288
{{- end }}
{{- end }}
