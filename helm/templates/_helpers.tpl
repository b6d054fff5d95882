{{/* Names, labels and what several templates share. */}}

{{/* The beginning of every object's name. */}}
{{- define "quorum.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- /* Releases may have dots in their names, Services may not. */ -}}
{{- default $full .Values.fullnameOverride | replace "." "-" -}}
{{- end }}

{{/*
The name of one object: list $ "gateway". Of 52 characters at most, since a StatefulSet's becomes a label with a hash behind it; what is
cut off is told apart by a digest.
*/}}
{{- define "quorum.name" -}}
{{- $root := index . 0 -}}
{{- $suffix := index . 1 -}}
{{- $full := include "quorum.fullname" $root -}}
{{- $most := int (sub 51 (len $suffix)) -}}
{{- if gt (len $full) $most -}}
{{- printf "%s-%s-%s" ($full | trunc (int (sub $most 7)) | trimSuffix "-") ($full | sha256sum | trunc 6) $suffix -}}
{{- else -}}
{{- printf "%s-%s" $full $suffix -}}
{{- end -}}
{{- end }}

{{- define "quorum.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* What every pod of the release has, and nothing else: what policies for all of them select. */}}
{{- define "quorum.releaseLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* list $ "component" [pool] */}}
{{- define "quorum.selectorLabels" -}}
{{ include "quorum.releaseLabels" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- if gt (len .) 2 }}
quorum/pool: {{ index . 2 }}
{{- end }}
{{- end }}

{{/* list $ "component" [pool] */}}
{{- define "quorum.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ include "quorum.chart" $root }}
{{ include "quorum.selectorLabels" . }}
app.kubernetes.io/part-of: quorum
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of a pod, which an upgrade of the chart alone does not change: a changed one would restart it. */}}
{{- define "quorum.podLabels" -}}
{{ include "quorum.selectorLabels" . }}
app.kubernetes.io/part-of: quorum
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* list $ image: one of the project's own, which have the registry before and the chart's version behind them. */}}
{{- define "quorum.ownImage" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $registry := $root.Values.image.registry | trimSuffix "/" -}}
{{- $name := ternary $image.repository (printf "%s/%s" $registry $image.repository) (empty $registry) -}}
{{- include "quorum.image" (dict "repository" $name "tag" (default $root.Chart.AppVersion $image.tag) "digest" $image.digest) -}}
{{- end }}

{{/* Those of the project's own images that the release runs, as a JSON list. */}}
{{- define "quorum.ownImages" -}}
{{- $images := list (include "quorum.ownImage" (list . .Values.gateway.image)) -}}
{{- range $_, $pool := include "quorum.pools" . | fromJson -}}
{{- $images = append $images (include "quorum.ownImage" (list $ (get $.Values.tritonImages $pool.hardware))) -}}
{{- end -}}
{{- toJson ($images | uniq) -}}
{{- end }}

{{- define "quorum.image" -}}
{{- if not (or .digest .tag) -}}
{{- fail (printf "The image %s has neither tag nor digest." .repository) -}}
{{- end -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository .tag -}}
{{- end -}}
{{- end }}

{{- define "quorum.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "quorum.name" (list . "pods")) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* What every pod begins with: list $ user group. */}}
{{- define "quorum.podSecurity" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "quorum.serviceAccountName" $root }}
automountServiceAccountToken: false
# Addresses of other Services are of no use here, and there can be thousands of them.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ index . 1 }}
  runAsGroup: {{ index . 2 }}
  fsGroup: {{ index . 2 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "quorum.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Where a pod may and should run: dict root place labels [tolerations]. `place` holds nodeSelector, tolerations and so on. */}}
{{- define "quorum.placement" -}}
{{- $place := .place -}}
{{- with $place.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $place.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat (default (list) .tolerations) $place.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if hasKey $place "affinity" }}
affinity:
{{- if $place.affinity }}
  {{- toYaml $place.affinity | nindent 2 }}
{{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- .labels | nindent 14 }}
{{- end }}
{{- end }}
{{- if dig "topologySpread" "enabled" false $place }}
{{- $labels := .labels }}
topologySpreadConstraints:
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $place.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- $labels | nindent 8 }}
    # Each revision by itself: the one that goes does not count. Nor do nodes that its pods cannot go to.
    matchLabelKeys: [pod-template-hash]
    nodeTaintsPolicy: Honor
{{- end }}
{{- end }}
{{- end }}

{{/*
A preStop that waits: list seconds. By `exec`, since every image here has a `sleep`, and the action of that name is not there before
Kubernetes 1.30.
*/}}
{{- define "quorum.preStop" -}}
{{- if gt (int .) 0 }}
lifecycle:
  preStop:
    exec:
      command: ["sleep", {{ int . | quote }}]
{{- end }}
{{- end }}

{{/* Whole CPUs of a container with these resources, rounded up; 0 where nothing is said. */}}
{{- define "quorum.cpus" -}}
{{- $resources := default dict . -}}
{{- $cpu := dig "limits" "cpu" (dig "requests" "cpu" "0" $resources) $resources | toString -}}
{{- if hasSuffix "m" $cpu -}}
{{- $cpu | trimSuffix "m" | float64 | mulf 0.001 | ceil | int -}}
{{- else -}}
{{- $cpu | float64 | ceil | int -}}
{{- end -}}
{{- end }}

{{/* Bytes of a quantity (512Mi) or of what Redis calls memory (384mb). */}}
{{- define "quorum.bytes" -}}
{{- $text := toString . -}}
{{- $units := dict "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "kb" 1024.0 "mb" 1048576.0 "gb" 1073741824.0 "m" 0.001 "" 1.0 -}}
{{- $number := regexFind "^[0-9.]+(e[+][0-9]+)?" $text -}}
{{- mulf (float64 $number) (get $units (trimPrefix $number $text)) | int64 -}}
{{- end }}

{{/* A number as people write it: Helm reads 33554432 as 3.3554432e+07. */}}
{{- define "quorum.plain" -}}
{{- if kindIs "float64" . -}}
{{- if eq (floor .) . -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end }}

{{/* The port of an address, with the scheme's own where it names none. */}}
{{- define "quorum.port" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- default (get (dict "http" "80" "https" "443" "redis" "6379" "rediss" "6379") $url.scheme) $port -}}
{{- end }}

{{/* Pools as JSON, each with its defaults; none without Triton. */}}
{{- define "quorum.pools" -}}
{{- $pools := dict -}}
{{- if eq .Values.engine "triton" -}}
{{- $named := dict -}}
{{- range $name, $pool := .Values.pools -}}
{{- if not (kindIs "invalid" $pool) -}}
{{- $_ := set $named $name $pool -}}
{{- end -}}
{{- end -}}
{{- if not $named -}}
{{- $_ := set $named "all" dict -}}
{{- end -}}
{{- range $name, $pool := $named -}}
{{- $_ := set $pools $name (mergeOverwrite (deepCopy $.Values.poolDefaults) (deepCopy $pool)) -}}
{{- end -}}
{{- end -}}
{{- toJson $pools -}}
{{- end }}

{{/* The number of pods that is always there: of something with `replicas` and `autoscaling`. */}}
{{- define "quorum.fewest" -}}
{{- ternary .autoscaling.minReplicas .replicas .autoscaling.enabled | int -}}
{{- end }}

{{/* Whether something is on that lives on metrics: the operator's monitors, or KEDA's questions to Prometheus. */}}
{{- define "quorum.isMeasured" -}}
{{- $measured := .Values.monitoring.serviceMonitor.enabled -}}
{{- range $_, $each := append (include "quorum.pools" . | fromJson | values) .Values.gateway -}}
{{- $measured = or $measured (and $each.autoscaling.enabled $each.autoscaling.keda.enabled) -}}
{{- end -}}
{{- ternary "true" "" $measured -}}
{{- end }}

{{/* What may read metrics, as a JSON list of peers. */}}
{{- define "quorum.metricsFrom" -}}
{{- $from := .Values.networkPolicy.metricsFrom -}}
{{- if and (not $from) (include "quorum.isMeasured" .) -}}
{{- $from = list (dict "namespaceSelector" dict) -}}
{{- end -}}
{{- toJson $from -}}
{{- end }}
