{{/* What is in both containers: dict root redis arguments. */}}
{{- define "quorum.redis" -}}
image: {{ include "quorum.image" .redis.image }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [redis-server]
args:
  {{- range .arguments }}
  - {{ . | quote }}
  {{- end }}
  {{- with .redis.passwordSecret }}
  {{- if .name }}
  - --requirepass
  - $(REDISCLI_AUTH)
  {{- end }}
  {{- end }}
{{- with .redis.passwordSecret }}
{{- if .name }}
env:
  # By this name redis-cli finds it too.
  - name: REDISCLI_AUTH
    valueFrom:
      secretKeyRef: {name: {{ .name }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
ports:
  - {name: redis, containerPort: 6379}
# A Redis that reads its log answers LOADING, with which redis-cli ends well: the word itself is looked for.
startupProbe:
  exec: {command: [sh, -c, "redis-cli ping | grep -q PONG"]}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 150
readinessProbe:
  exec: {command: [sh, -c, "redis-cli ping | grep -q PONG"]}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
# Any answer is one: a full disk or memory is not mended by a restart.
livenessProbe:
  exec: {command: [redis-cli, ping]}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
resources:
  {{- toYaml .redis.resources | nindent 2 }}
{{ include "quorum.containerSecurity" .root }}
volumeMounts:
  - {name: data, mountPath: /data}
{{- end }}

{{/* dict root labels name */}}
{{- define "quorum.redisService" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  labels:
    {{- include "quorum.labels" .labels | nindent 4 }}
spec:
  selector:
    {{- include "quorum.selectorLabels" .labels | nindent 4 }}
  ports:
    - {name: redis, port: 6379, targetPort: redis}
{{- end }}
