{{/* Towers of a pool's backbones, as the model repository names its folders; none where it runs all. */}}
{{- define "quorum.towers" -}}
{{- $towers := list -}}
{{- range .backbones -}}
{{- $towers = concat $towers (list (printf "%s_image" .) (printf "%s_text" .)) -}}
{{- end -}}
{{- toJson $towers -}}
{{- end }}

{{/* Of docker/triton/serve.py, behind the image's own. */}}
{{- define "quorum.wheelArgs" -}}
- --host=0.0.0.0
{{- $cpus := include "quorum.cpus" .resources | int }}
{{- if $cpus }}
- --cores={{ $cpus }}
{{- end }}
{{- range include "quorum.towers" . | fromJsonArray }}
- --load-model={{ . }}
{{- end }}
{{- end }}

{{/* In place of NVIDIA's: those of docker/triton.Dockerfile, with the pool's towers alone. */}}
{{- define "quorum.nvidiaArgs" -}}
- tritonserver
- --model-repository=/models
{{- $towers := include "quorum.towers" . | fromJsonArray }}
- --model-control-mode={{ ternary "explicit" "none" (not (empty $towers)) }}
{{- range $towers }}
- --load-model={{ . }}
{{- end }}
- --disable-auto-complete-config
- --http-port=8000
- --grpc-port=8001
- --metrics-port=8002
- --exit-timeout-secs=25
{{- end }}
