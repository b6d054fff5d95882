{{- define "quorum.dnsEgress" -}}
- ports:
    {{- range .Values.networkPolicy.dns.ports }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .Values.networkPolicy.dns.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Ports of what gateways use outside of the release, as a JSON list. */}}
{{- define "quorum.externalPorts" -}}
{{- /* First of all: what cannot be parsed would be repeated, with the password in it. */ -}}
{{- include "quorum.checkStores" . -}}
{{- include "quorum.checkAddresses" . -}}
{{- $ports := list -}}
{{- range $what := list "state" "cache" -}}
{{- $store := index $.Values $what -}}
{{- $kind := include "quorum.storeKind" $store -}}
{{- if eq $kind "secret" -}}
{{- $ports = append $ports (int $store.urlSecret.port) -}}
{{- else if eq $kind "url" -}}
{{- $ports = append $ports (include "quorum.port" $store.url | int) -}}
{{- end -}}
{{- end -}}
{{- range list .Values.galleries.url .Values.gateway.tracing.endpoint -}}
{{- if hasPrefix "http" . -}}
{{- $ports = append $ports (include "quorum.port" . | int) -}}
{{- end -}}
{{- end -}}
{{- toJson ($ports | uniq) -}}
{{- end }}
