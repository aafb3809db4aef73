{{/*
Certificates. The authority is made by the chart and lives for ten years, unless an issuer is named. Leaves are renewed by cert-manager, or by
the chart: at the first upgrade after two thirds of their life.
*/}}

{{/* "true" if cert-manager makes the leaves. */}}
{{- define "firn.byCertManager" -}}
{{- $asked := .Values.certificates.certManager -}}
{{- $there := .Capabilities.APIVersions.Has "cert-manager.io/v1" -}}
{{- if or (eq $asked "always") .Values.certificates.issuer (and (eq $asked "auto") $there) }}true{{ end }}
{{- end }}

{{/* Names and addresses of the coordinator, as JSON. */}}
{{- define "firn.certificateNames" -}}
{{- $short := include "firn.coordinator" . }}{{ $long := printf "%s.%s" $short .Release.Namespace -}}
{{- concat (list $short $long (printf "%s.svc" $long) (printf "%s.svc.cluster.local" $long) "localhost") .Values.certificates.names | uniq | toJson }}
{{- end }}

{{/* Who shows a certificate where they are mutual: a list of {name, common}. That of workers is passed on by the operator. */}}
{{- define "firn.clientCertificates" -}}
{{- range list "admin" "operator" "worker" }}
- name: {{ include "firn.name" $ }}-{{ . }}-tls
  common: firn-{{ . }}
{{- end }}
{{- end }}

{{/* What Secrets have that cert-manager makes: the label by which all of Firn's are found, to keep them or to remove them. */}}
{{- define "firn.issuedSecret" -}}
secretTemplate:
  labels: {app.kubernetes.io/part-of: firn, app.kubernetes.io/instance: {{ .Release.Name }}}
{{- end }}

{{/* A Secret with a leaf. (list $ authority {name, common} names addresses) */}}
{{- define "firn.leaf" -}}
{{- $root := index . 0 }}{{ $authority := index . 1 }}{{ $leaf := index . 2 -}}
{{- $days := int $root.Values.certificates.days -}}
{{- $known := lookup "v1" "Secret" $root.Release.Namespace $leaf.name | default dict -}}
{{- $renewal := dig "metadata" "annotations" "firn.dev/renewed-after" "" $known -}}
{{- $names := index . 3 | join "," -}}
{{- $isYoung := and $renewal (lt (now | unixEpoch | int64) (toDate "2006-01-02T15:04:05Z07:00" $renewal | unixEpoch | int64)) -}}
{{- $isOfAuthority := eq ($authority.Cert | b64enc) (dig "data" "ca.crt" "" $known) -}}
{{- $isKept := and $isYoung $isOfAuthority (eq $names (dig "metadata" "annotations" "firn.dev/names" "" $known)) -}}
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata:
  name: {{ $leaf.name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "firn.labels" $root | nindent 4 }}
  annotations:
    helm.sh/resource-policy: keep
    firn.dev/names: {{ $names | quote }}
    {{- if $isKept }}
    firn.dev/renewed-after: {{ $renewal | quote }}
    {{- else }}
    firn.dev/renewed-after: {{ now | date_modify (printf "%dh" (div (mul $days 24 2) 3)) | date "2006-01-02T15:04:05Z07:00" | quote }}
    {{- end }}
data:
  {{- if $isKept }}
  {{- range $key, $value := $known.data }}
  {{ $key }}: {{ $value }}
  {{- end }}
  {{- else }}
  {{- $made := genSignedCertWithKey $leaf.common (index . 4) (index . 3) $days $authority (genPrivateKey "ecdsa") }}
  tls.crt: {{ $made.Cert | b64enc }}
  tls.key: {{ $made.Key | b64enc }}
  ca.crt: {{ $authority.Cert | b64enc }}
  {{- end }}
{{- end }}
