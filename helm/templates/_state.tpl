{{/* Where state and cache are: of `state` or `cache`, one of builtin, secret, url and nothing. */}}
{{- define "quorum.storeKind" -}}
{{- if .urlSecret.name -}}secret
{{- else if .url -}}url
{{- else if .builtin.enabled -}}builtin
{{- end -}}
{{- end }}

{{/* Whether gateways keep something in files that no other gateway sees. */}}
{{- define "quorum.keepsFiles" -}}
{{- if or (empty (include "quorum.storeKind" .Values.state)) (hasSuffix ".db" .Values.galleries.url) -}}
true
{{- end -}}
{{- end }}

{{/* Environment variables that the chart derives, as YAML of names without QUORUM_. Secrets are not among them. */}}
{{- define "quorum.derivedSettings" -}}
ENGINE: {{ .Values.engine }}
PORT: "8000"
{{- if eq .Values.engine "triton" }}
TRITON_URLS: {{ include "quorum.tritonUrls" . }}
{{- end }}
{{- if .Values.modelRepository.existingClaim }}
MODEL_REPOSITORY: /srv/quorum/model_repository
{{- end }}
{{- range $what := list "state" "cache" }}
{{- $store := index $.Values $what }}
{{- $kind := include "quorum.storeKind" $store }}
{{- if eq $kind "url" }}
{{ upper $what }}_URL: {{ $store.url | quote }}
{{- else if and (eq $kind "builtin") (not $store.builtin.passwordSecret.name) }}
{{ upper $what }}_URL: redis://{{ include "quorum.name" (list $ $what) }}:6379/0
{{- end }}
{{- end }}
GALLERIES_URL: {{ .Values.galleries.url | quote }}
{{- if .Values.gateway.apiKeysSecret.name }}
API_KEYS_FILE: /etc/quorum/keys/{{ .Values.gateway.apiKeysSecret.key }}
{{- end }}
{{- end }}

{{/*
Those that may be set otherwise. Threads follow from the limits: affinity, which the service counts, says nothing of a quota. The delay is
the image's own, said here so that what must be less than the grace period is known.
*/}}
{{- define "quorum.defaultSettings" -}}
DRAIN_DELAY_S: "3"
{{- $cpus := include "quorum.cpus" .Values.gateway.resources | int }}
{{- if $cpus }}
DECODE_THREADS: {{ $cpus | quote }}
{{- if eq .Values.engine "onnx" }}
INTRA_OP_THREADS: {{ max 1 (div $cpus 2) | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* What a gateway is told beside secrets, as YAML of names without QUORUM_. */}}
{{- define "quorum.settings" -}}
{{- $settings := include "quorum.defaultSettings" . | fromYaml -}}
{{- range $name, $value := .Values.gateway.settings -}}
{{- $_ := set $settings $name (include "quorum.plain" $value) -}}
{{- end -}}
{{- range $name, $value := include "quorum.derivedSettings" . | fromYaml -}}
{{- $_ := set $settings $name $value -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end }}

{{- define "quorum.tritonUrls" -}}
{{- $urls := list -}}
{{- range $name, $_ := include "quorum.pools" . | fromJson -}}
{{- $urls = append $urls (printf "%s:8001" (include "quorum.name" (list $ (printf "triton-%s" $name)))) -}}
{{- end -}}
{{- join "," $urls -}}
{{- end }}

{{/* Environment variables with secrets in them. */}}
{{- define "quorum.secretEnv" -}}
{{- range $what := list "state" "cache" }}
{{- $store := index $.Values $what }}
{{- $kind := include "quorum.storeKind" $store }}
{{- if eq $kind "secret" }}
- name: QUORUM_{{ upper $what }}_URL
  valueFrom:
    secretKeyRef: {name: {{ $store.urlSecret.name }}, key: {{ $store.urlSecret.key | quote }}}
{{- else if and (eq $kind "builtin") $store.builtin.passwordSecret.name }}
- name: {{ upper $what }}_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $store.builtin.passwordSecret.name }}, key: {{ $store.builtin.passwordSecret.key | quote }}}
- name: QUORUM_{{ upper $what }}_URL
  value: redis://:$({{ upper $what }}_PASSWORD)@{{ include "quorum.name" (list $ $what) }}:6379/0
{{- end }}
{{- end }}
{{- with .Values.galleries.tokenSecret }}
{{- if .name }}
- name: QUORUM_GALLERIES_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ .name }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{/*
What to say of a gateway that large images would have killed; nothing where its memory is enough. Of a pixel with transparency thirteen bytes
are held while it is decoded, and 300 MB are there before any request.
*/}}
{{- define "quorum.tooLittleMemory" -}}
{{- $settings := include "quorum.settings" . | fromYaml -}}
{{- $limit := dig "limits" "memory" "" (default dict .Values.gateway.resources) -}}
{{- $threads := get $settings "DECODE_THREADS" | float64 -}}
{{- if and $limit $threads -}}
{{- $images := get $settings "MAX_IMAGE_PIXELS" | default "50000000" | float64 | mulf 13 $threads -}}
{{- $caches := addf (get $settings "CACHE_MAX_BYTES" | default "268435456" | float64) (get $settings "LABEL_CACHE_MAX_BYTES" | default "134217728" | float64) -}}
{{- $needed := addf 300000000 $images $caches | int64 -}}
{{- if lt (include "quorum.bytes" $limit | int64) $needed -}}
{{- printf "Images of MAX_IMAGE_PIXELS on all of %d threads with full caches take %d MiB, and a gateway is killed at %s (gateway.resources.limits.memory, gateway.settings.MAX_IMAGE_PIXELS or DECODE_THREADS)." (int $threads) (div $needed 1048576) (toString $limit) -}}
{{- end -}}
{{- end -}}
{{- end }}
