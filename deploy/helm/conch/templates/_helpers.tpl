{{- define "conch.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* Names of pods follow from it and are names of machines to MPI, which allows 63 characters: hence 40. */ -}}
{{- define "conch.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "conch.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "conch.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "conch.selector" -}}
app.kubernetes.io/name: {{ include "conch.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "conch.labels" -}}
{{ include "conch.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* The pods that answer requests: of a replica over several nodes, the leader. */ -}}
{{- define "conch.servingSelector" -}}
{{ include "conch.selector" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "conch.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{- define "conch.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "conch.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* What the chart needs of the spec, checked, as JSON: name, ranks, GPUs of each pod, directory of the engine. */ -}}
{{- define "conch.engine" -}}
{{- $spec := fromToml .Values.engine.spec }}
{{- if hasKey $spec "Error" }}{{ fail (printf "engine.spec: not TOML: %s" $spec.Error) }}{{ end }}
{{- if not (regexMatch "^[A-Za-z0-9][A-Za-z0-9._-]*$" (default "" $spec.name | toString)) }}
{{- fail (printf "engine.spec: name = %v; must be a name" $spec.name) }}
{{- end }}
{{- $build := default dict $spec.build }}
{{- $ranks := mul (default 1 $build.tensor_parallel) (default 1 $build.pipeline_parallel) | int }}
{{- $nodes := int .Values.engine.nodes }}
{{- $gpu := eq (default "" $spec.runtime) "tensorrt_llm" }}
{{- $compiled := and $gpu (ne (default "" $build.flow) "pytorch") }}
{{- if mod $ranks $nodes }}
{{- fail (printf "engine.nodes = %d; must divide the %d ranks (tensor_parallel × pipeline_parallel) of engine.spec" $nodes $ranks) }}
{{- end }}
{{- $share := div $ranks $nodes | int }}
{{- if and $compiled (gt $nodes 1) (ne (default 8 $build.gpus_per_node | int) $share) }}
{{- fail (printf "engine.spec: build.gpus_per_node = %v; must be %d, the ranks of each of engine.nodes = %d" (default 8 $build.gpus_per_node) $share $nodes) }}
{{- end }}
{{- if and (gt $nodes 1) (not .Values.multiNode.sshSecret) }}
{{- fail (printf "multiNode.sshSecret is required with engine.nodes = %d" $nodes) }}
{{- end }}
{{- if and $compiled .Values.build.enabled (lt (int .Values.build.gpus) 1) }}
{{- fail "build.gpus = 0; must be ≥ 1: a compiled engine needs a GPU of the kind that serves it" }}
{{- end }}
{{- $revision := default (printf "%s\n%s" .Values.engine.spec (include "conch.image" .) | sha256sum | trunc 10) .Values.engine.revision }}
{{- dict "name" $spec.name "revision" $revision "ranks" $share "gpus" (ternary $share 0 $gpu)
      "store" (printf "/engines/%s" $revision) "path" (printf "/engines/%s/%s" $revision $spec.name) | toJson }}
{{- end }}

{{- /* LeaderWorkerSet makes a headless Service of its own name, under which its pods know each other. */ -}}
{{- define "conch.serviceName" -}}
{{- include "conch.fullname" . }}{{ if gt (int .Values.engine.nodes) 1 }}-api{{ end }}
{{- end }}

{{- define "conch.scaleTarget" -}}
{{- if gt (int .Values.engine.nodes) 1 -}}
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
{{- else -}}
apiVersion: apps/v1
kind: Deployment
{{- end }}
name: {{ include "conch.fullname" . }}
{{- end }}
