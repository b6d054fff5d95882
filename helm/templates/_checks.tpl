{{/* Values that contradict each other, each with what would mend it. Included once, where gateways are made. */}}
{{- define "quorum.check" -}}
{{- include "quorum.checkLabels" . -}}
{{- include "quorum.checkSettings" . -}}
{{- include "quorum.checkStores" . -}}
{{- include "quorum.checkScaling" (list . "gateway" .Values.gateway) -}}
{{- include "quorum.checkEnding" . -}}
{{- include "quorum.checkAddresses" . -}}
{{- include "quorum.checkNetwork" . -}}
{{- range $name, $pool := include "quorum.pools" . | fromJson -}}
{{- include "quorum.checkPool" (list $ $name $pool) -}}
{{- end -}}
{{- if and .Values.gateway.ingress.enabled (not .Values.gateway.ingress.hosts) -}}
{{- fail "gateway.ingress.enabled takes gateway.ingress.hosts, such as [{host: quorum.example.com, paths: [{path: /, pathType: Prefix}]}]." -}}
{{- end -}}
{{- if and .Values.gateway.httpRoute.enabled (not .Values.gateway.httpRoute.parentRefs) -}}
{{- fail "gateway.httpRoute.enabled takes gateway.httpRoute.parentRefs, such as [{name: public, namespace: gateways}]." -}}
{{- end -}}
{{- end }}

{{- define "quorum.checkLabels" -}}
{{- $monitors := merge dict .Values.monitoring.serviceMonitor.labels .Values.monitoring.rules.labels .Values.monitoring.dashboard.labels -}}
{{- range $name, $_ := .Values.commonLabels -}}
{{- if or (regexMatch "^(app[.]kubernetes[.]io|helm[.]sh|quorum)/" $name) (hasKey $monitors $name) -}}
{{- fail (printf "commonLabels.%s: the chart sets it itself, or a value of monitoring does; take another name." $name) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "quorum.checkSettings" -}}
{{- $elsewhere := dict "ENGINE" "engine" "TRITON_URLS" "pools" "STATE_URL" "state" "CACHE_URL" "cache" "GALLERIES_URL" "galleries.url" "GALLERIES_TOKEN" "galleries.tokenSecret" "API_KEYS_FILE" "gateway.apiKeysSecret" "MODEL_REPOSITORY" "modelRepository" "PORT" "gateway.service.port (inside it is always 8000)" -}}
{{- if hasKey .Values.gateway.settings "CLIENT_API_KEY" -}}
{{- fail "gateway.settings.CLIENT_API_KEY is the command line's and would stand in a ConfigMap; helm test takes tests.apiKeySecret." -}}
{{- end -}}
{{- range $name, $_ := .Values.gateway.settings -}}
{{- if hasPrefix "QUORUM_" $name -}}
{{- fail (printf "gateway.settings.%s: leave QUORUM_ out; the chart puts it before every name." $name) -}}
{{- end -}}
{{- if hasKey $elsewhere $name -}}
{{- fail (printf "gateway.settings.%s: the chart sets it; say it by %s." $name (get $elsewhere $name)) -}}
{{- end -}}
{{- end -}}
{{- range .Values.gateway.extraEnv -}}
{{- $name := trimPrefix "QUORUM_" .name -}}
{{- if and (hasPrefix "QUORUM_" .name) (hasKey $elsewhere $name) -}}
{{- fail (printf "gateway.extraEnv: %s is set by the chart; say it by %s." .name (get $elsewhere $name)) -}}
{{- end -}}
{{- if or (hasKey $.Values.gateway.settings $name) (eq .name "OTEL_EXPORTER_OTLP_ENDPOINT") -}}
{{- fail (printf "gateway.extraEnv: %s is said by %s already." .name (ternary "gateway.tracing.endpoint" (printf "gateway.settings.%s" $name) (eq .name "OTEL_EXPORTER_OTLP_ENDPOINT"))) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "quorum.checkStores" -}}
{{- range $what := list "state" "cache" -}}
{{- $store := index $.Values $what -}}
{{- if and $store.url $store.urlSecret.name -}}
{{- fail (printf "%s.url and %s.urlSecret.name are both set; keep one." $what $what) -}}
{{- end -}}
{{- if and (or $store.url $store.urlSecret.name) $store.builtin.enabled -}}
{{- fail (printf "%s.builtin.enabled is true and another address is given; set %s.builtin.enabled=false." $what $what) -}}
{{- end -}}
{{- if regexMatch "@|[?&]password=" $store.url -}}
{{- fail (printf "%s.url holds a password, which would stand in a ConfigMap; put the address into a secret and name it in %s.urlSecret." $what $what) -}}
{{- end -}}
{{- $redis := $store.builtin -}}
{{- $limit := dig "limits" "memory" "" (default dict $redis.resources) | toString -}}
{{- if and (eq (include "quorum.storeKind" $store) "builtin") $limit -}}
{{- if ge (include "quorum.bytes" $redis.maxMemory | int64) (include "quorum.bytes" $limit | int64) -}}
{{- fail (printf "%s.builtin.maxMemory is %s, and the container is killed at %s; raise %s.builtin.resources.limits.memory, by a third more than maxMemory." $what $redis.maxMemory $limit $what) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.cache.url (eq .Values.cache.url .Values.state.url) -}}
{{- fail "cache.url and state.url are the same; a cache evicts, state must not." -}}
{{- end -}}
{{- $gateway := .Values.gateway -}}
{{- $most := ternary $gateway.autoscaling.maxReplicas $gateway.replicas $gateway.autoscaling.enabled | int -}}
{{- if and (gt $most 1) (include "quorum.keepsFiles" .) -}}
{{- fail "Several gateways cannot share files: state and galleries need servers (state.builtin, state.url or state.urlSecret; galleries.url), or set gateway.replicas=1 and gateway.autoscaling.enabled=false." -}}
{{- end -}}
{{- if and $gateway.persistence.enabled (gt $most 1) -}}
{{- fail "gateway.persistence is for a single gateway; set gateway.replicas=1 and gateway.autoscaling.enabled=false, or gateway.persistence.enabled=false." -}}
{{- end -}}
{{- end }}

{{- define "quorum.checkAddresses" -}}
{{- if contains "@" .Values.galleries.url -}}
{{- fail "galleries.url holds a password, which would stand in a ConfigMap; put it into a secret and name that in galleries.tokenSecret." -}}
{{- end -}}
{{- if contains "@" .Values.gateway.tracing.endpoint -}}
{{- fail "gateway.tracing.endpoint holds a password, which would stand in a ConfigMap; send OTEL_EXPORTER_OTLP_HEADERS instead, from a secret by gateway.extraEnv." -}}
{{- end -}}
{{- end }}

{{- define "quorum.checkNetwork" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if and $policy.enabled $policy.ingressFrom (not $policy.metricsFrom) (include "quorum.isMeasured" .) -}}
{{- fail "networkPolicy.ingressFrom says who may send requests, and metrics are on the same port: name Prometheus in networkPolicy.metricsFrom, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]." -}}
{{- end -}}
{{- end }}

{{/* list $ "gateway" values */}}
{{- define "quorum.checkScaling" -}}
{{- $root := index . 0 -}}
{{- $where := index . 1 -}}
{{- $scaling := (index . 2).autoscaling -}}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- fail (printf "%s.autoscaling: minReplicas (%d) is more than maxReplicas (%d)." $where (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- $resources := default dict (index . 2).resources -}}
{{- if and $scaling.enabled (not (dig "requests" "cpu" (dig "limits" "cpu" "" $resources) $resources)) -}}
{{- fail (printf "%s.autoscaling counts in shares of %s.resources.requests.cpu, which is not set." $where $where) -}}
{{- end -}}
{{- $pdb := (index . 2).pdb -}}
{{- $fewest := include "quorum.fewest" (index . 2) | int -}}
{{- $away := int $pdb.maxUnavailable -}}
{{- if kindIs "string" $pdb.maxUnavailable -}}
{{- $away = $pdb.maxUnavailable | trimSuffix "%" | float64 | mulf $fewest | mulf 0.01 | ceil | int -}}
{{- end -}}
{{- if and $pdb.enabled (gt $fewest 1) (ge $away $fewest) -}}
{{- fail (printf "%s.pdb.maxUnavailable is %s, which lets all %d go at once." $where ($pdb.maxUnavailable | toString) $fewest) -}}
{{- end -}}
{{- if and $scaling.keda.enabled (not $scaling.enabled) -}}
{{- fail (printf "%s.autoscaling.keda.enabled takes %s.autoscaling.enabled=true as well." $where $where) -}}
{{- end -}}
{{- if and $scaling.keda.enabled (not (default $root.Values.gateway.autoscaling.keda.serverAddress $scaling.keda.serverAddress)) -}}
{{- fail (printf "%s.autoscaling.keda takes serverAddress, the Prometheus to ask, such as http://prometheus-operated.monitoring:9090." $where) -}}
{{- end -}}
{{- end }}

{{- define "quorum.checkEnding" -}}
{{- $gateway := .Values.gateway -}}
{{- $settings := include "quorum.settings" . | fromYaml -}}
{{- $delay := get $settings "DRAIN_DELAY_S" | float64 | ceil | int -}}
{{- $drain := get $settings "DRAIN_TIMEOUT_S" | default 25 | float64 | ceil | int -}}
{{- /* Jobs, spans and connections to other servers are given some seconds to end. */ -}}
{{- $closing := 6 -}}
{{- $needed := add (int $gateway.preStopSeconds) $delay $drain $closing | int -}}
{{- if lt (int $gateway.terminationGracePeriodSeconds) $needed -}}
{{- fail (printf "gateway.terminationGracePeriodSeconds is %d, which cuts requests off: it must be %d at least, for preStopSeconds (%d), DRAIN_DELAY_S (%d), DRAIN_TIMEOUT_S (%d) and %d for closing together." (int $gateway.terminationGracePeriodSeconds) $needed (int $gateway.preStopSeconds) $delay $drain $closing) -}}
{{- end -}}
{{- end }}

{{/* list $ name pool */}}
{{- define "quorum.checkPool" -}}
{{- $root := index . 0 -}}
{{- $where := printf "pools.%s" (index . 1) -}}
{{- $pool := index . 2 -}}
{{- include "quorum.checkScaling" (list $root $where $pool) -}}
{{- if le (int $pool.terminationGracePeriodSeconds) (int (add (int $pool.preStopSeconds) 30)) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds is %d, which cuts inferences off: it must be more than preStopSeconds (%d) and the server's own 30 together." $where (int $pool.terminationGracePeriodSeconds) (int $pool.preStopSeconds)) -}}
{{- end -}}
{{- if and (eq $pool.hardware "gpu") $pool.autoscaling.enabled (not $pool.autoscaling.keda.enabled) -}}
{{- fail (printf "%s.autoscaling: a GPU's pool is not scaled by CPU; set %s.autoscaling.keda.enabled=true." $where $where) -}}
{{- end -}}
{{- end }}
