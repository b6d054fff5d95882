{{/* dict root of labels name: made where there is more than one pod; of one alone it could only keep a node from being drained. */}}
{{- define "quorum.pdb" -}}
{{- if and .of.pdb.enabled (gt (include "quorum.fewest" .of | int) 1) }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "quorum.name" (list .root .name) }}
  labels:
    {{- include "quorum.labels" .labels | nindent 4 }}
spec:
  maxUnavailable: {{ .of.pdb.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "quorum.selectorLabels" .labels | nindent 6 }}
  # A pod that is not ready serves nobody, and must not keep a node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
{{- end }}
{{- end }}

{{/* A Deployment's strategy, without what only a rolling update has: values of the chart and one's own are merged. */}}
{{- define "quorum.strategy" -}}
{{- toYaml (ternary (dict "type" "Recreate") . (eq (get . "type") "Recreate")) -}}
{{- end }}

{{/* Up at once, down slowly: dict of. */}}
{{- define "quorum.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - {type: Percent, value: 100, periodSeconds: 30}
    - {type: Pods, value: 2, periodSeconds: 30}
  selectPolicy: Max
scaleDown:
  stabilizationWindowSeconds: {{ .autoscaling.scaleDownStabilizationSeconds }}
  policies:
    - {type: Pods, value: 1, periodSeconds: 60}
{{- end }}

{{/* dict of labels name */}}
{{- define "quorum.hpa" -}}
{{- if and .of.autoscaling.enabled (not .of.autoscaling.keda.enabled) }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  labels:
    {{- include "quorum.labels" .labels | nindent 4 }}
  annotations:
    # An upgrade to KEDA makes the ScaledObject before it takes this away, and KEDA would refuse a Deployment with two owners.
    validations.keda.sh/hpa-ownership: "false"
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .name }}}
  minReplicas: {{ .of.autoscaling.minReplicas }}
  maxReplicas: {{ .of.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ .of.autoscaling.targetCPUUtilizationPercentage }}}
  behavior:
    {{- include "quorum.behavior" .of | nindent 4 }}
{{- end }}
{{- end }}

{{/* dict of labels name cpu server query threshold */}}
{{- define "quorum.scaledObject" -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ .name }}
  labels:
    {{- include "quorum.labels" .labels | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .name }}}
  minReplicaCount: {{ .of.autoscaling.minReplicas }}
  maxReplicaCount: {{ .of.autoscaling.maxReplicas }}
  pollingInterval: 15
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- include "quorum.behavior" .of | nindent 8 }}
  triggers:
    - type: prometheus
      # The value itself and not its share per pod: a wait does not get shorter by being divided.
      metricType: Value
      metadata:
        serverAddress: {{ .server | quote }}
        query: {{ .query | quote }}
        threshold: {{ include "quorum.plain" .threshold | quote }}
    {{- if .cpu }}
    - type: cpu
      metricType: Utilization
      metadata:
        value: {{ .of.autoscaling.targetCPUUtilizationPercentage | quote }}
    {{- end }}
{{- end }}
