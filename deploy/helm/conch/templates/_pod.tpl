{{- /* What all pods have in common: `dict "root" $ "component" … "engines" (read-only?)` and what `spec` adds. */ -}}
{{- define "conch.podMetadata" -}}
labels:
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- include "conch.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
  {{- if eq .component "server" }}
  llm-d.ai/engine-type: triton-tensorrt-llm
  {{- end }}
{{- with .root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "conch.podCommon" -}}
serviceAccountName: {{ include "conch.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- range $key, $value := pick .Values "imagePullSecrets" "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "runtimeClassName" "priorityClassName" "schedulerName" }}
{{- with $value }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "conch.containerCommon" -}}
image: {{ include "conch.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end }}

{{- /* The root file system is read-only: these are the places that can be written to. */ -}}
{{- define "conch.env" -}}
- {name: HOME, value: /cache}
- {name: TMPDIR, value: /tmp}
- {name: PYTHONDONTWRITEBYTECODE, value: "1"}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "conch.mounts" -}}
- {name: engines, mountPath: /engines{{ if .readOnly }}, readOnly: true{{ end }}}
- {name: cache, mountPath: /cache}
- {name: tmp, mountPath: /tmp}
- {name: shm, mountPath: /dev/shm}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "conch.volumes" -}}
- name: engines
  persistentVolumeClaim:
    claimName: {{ default (printf "%s-engines" (include "conch.fullname" .root)) .root.Values.storage.existingClaim }}
    {{- if .readOnly }}
    readOnly: true
    {{- end }}
- name: tmp
  emptyDir: {sizeLimit: {{ .root.Values.tmp.sizeLimit }}}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ .root.Values.shm.sizeLimit }}}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "conch.resources" -}}
{{- $resources := deepCopy .resources }}
{{- if .gpus }}
{{- $resources = mergeOverwrite $resources (dict "limits" (dict .gpuResource .gpus)) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}
