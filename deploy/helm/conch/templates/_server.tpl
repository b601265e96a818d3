{{- /* The arguments of `conch serve`. Keys are in the environment or in files, never here. */ -}}
{{- define "conch.serveArgs" -}}
{{- $engine := include "conch.engine" . | fromJson }}
{{- $gateway := .Values.gateway }}
- serve
- {{ $engine.path }}
- --host=0.0.0.0
- --port={{ $gateway.port }}
- --workers={{ $gateway.workers }}
- --shutdown-grace-s={{ .Values.drain.graceS }}
- --request-timeout-s={{ $gateway.requestTimeoutS }}
- --queue-timeout-s={{ $gateway.queueTimeoutS }}
- --keep-alive-timeout-s={{ $gateway.keepAliveTimeoutS }}
- --hang-timeout-s={{ $gateway.hangTimeoutS }}
- --sse-ping-interval-s={{ $gateway.ssePingIntervalS }}
- {{ ternary "--access-log" "--no-access-log" $gateway.accessLog }}
{{- range $gateway.allowedHosts }}
- --allowed-hosts={{ . }}
{{- end }}
{{- range $gateway.corsOrigins }}
- --cors-origins={{ . }}
{{- end }}
{{- range $alias, $name := $gateway.aliases }}
- --alias={{ $alias }}={{ $name }}
{{- end }}
{{- with $gateway.otlpEndpoint }}
- --otlp-endpoint={{ . }}
{{- end }}
{{- with .Values.models }}
{{- if and .available (or (gt (int $.Values.engine.nodes) 1) (has .control (list "none" "poll"))) }}
{{- fail "models.available: needs models.control explicit, and engine.nodes = 1" }}
{{- end }}
{{- range .available }}
- --available={{ . }}
{{- end }}
{{- range .repositories }}
- --model-repository={{ . }}
{{- end }}
{{- range .required }}
- --required-models={{ . }}
{{- end }}
{{- with .control }}
- --model-control={{ . }}
{{- end }}
{{- end }}
{{- if $gateway.apiKeysFile.existingSecret }}
- --api-keys-file=/etc/conch/keys/{{ $gateway.apiKeysFile.key }}
{{- end }}
{{- if $gateway.tls.existingSecret }}
- --tls-cert=/etc/conch/tls/tls.crt
- --tls-key=/etc/conch/tls/tls.key
{{- end }}
{{- if gt (int .Values.engine.nodes) 1 }}
- --launcher=mpirun
- --hosts={{ include "conch.hosts" . }}
- --rsh-agent={{ include "conch.ssh" . }}
{{- end }}
{{- with $gateway.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "conch.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
  scheme: {{ ternary "HTTPS" "HTTP" (ne "" .root.Values.gateway.tls.existingSecret) }}
  {{- with .root.Values.gateway.allowedHosts }}
  httpHeaders:
    - {name: Host, value: {{ without . "*" | first | default "localhost" | quote }}}
  {{- end }}
{{ toYaml .probe }}
{{- end }}

{{- define "conch.serverContainer" -}}
{{- $engine := include "conch.engine" . | fromJson -}}
{{- $gateway := .Values.gateway -}}
name: conch
{{ include "conch.containerCommon" . }}
args:
  {{- include "conch.serveArgs" . | nindent 2 }}
env:
  {{- include "conch.env" . | nindent 2 }}
  {{- range $variable, $secret := dict "CONCH_API_KEY" $gateway.apiKey "CONCH_ADMIN_KEY" $gateway.adminKey }}
  {{- if $secret.existingSecret }}
  - name: {{ $variable }}
    valueFrom:
      secretKeyRef: {name: {{ $secret.existingSecret }}, key: {{ $secret.key }}}
  {{- end }}
  {{- end }}
  {{- if gt (int .Values.engine.nodes) 1 }}
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  {{- end }}
ports:
  - {name: http, containerPort: {{ $gateway.port }}}
startupProbe:
  {{- include "conch.probe" (dict "root" . "path" "/health/ready" "probe" .Values.startupProbe) | nindent 2 }}
readinessProbe:
  {{- include "conch.probe" (dict "root" . "path" "/health/ready" "probe" .Values.readinessProbe) | nindent 2 }}
livenessProbe:
  {{- include "conch.probe" (dict "root" . "path" "/health/live" "probe" .Values.livenessProbe) | nindent 2 }}
{{- if gt (int .Values.drain.preStopS) 0 }}
lifecycle:
  preStop:
    sleep: {seconds: {{ .Values.drain.preStopS }}}
{{- end }}
resources:
  {{- include "conch.resources" (dict "resources" .Values.resources "gpus" $engine.gpus "gpuResource" .Values.gpuResource) | nindent 2 }}
volumeMounts:
  {{- include "conch.mounts" (dict "root" . "readOnly" true) | nindent 2 }}
  {{- if $gateway.apiKeysFile.existingSecret }}
  - {name: keys, mountPath: /etc/conch/keys, readOnly: true}
  {{- end }}
  {{- if $gateway.tls.existingSecret }}
  - {name: tls, mountPath: /etc/conch/tls, readOnly: true}
  {{- end }}
  {{- if gt (int .Values.engine.nodes) 1 }}
  {{- include "conch.sshMounts" . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* Waits until the Job has published the engine. */ -}}
{{- define "conch.waitForEngine" -}}
{{- $engine := include "conch.engine" . | fromJson -}}
name: wait-for-engine
{{ include "conch.containerCommon" . }}
command: [sh, -c, 'until test -f "$1/manifest.json"; do sleep 5; done', wait, {{ $engine.path }}]
volumeMounts:
  - {name: engines, mountPath: /engines, readOnly: true}
{{- end }}

{{- define "conch.serverVolumes" -}}
{{ include "conch.volumes" (dict "root" . "readOnly" true) }}
- name: cache
  emptyDir: {}
{{- if .Values.gateway.apiKeysFile.existingSecret }}
- name: keys
  secret: {secretName: {{ .Values.gateway.apiKeysFile.existingSecret }}}
{{- end }}
{{- if .Values.gateway.tls.existingSecret }}
- name: tls
  secret: {secretName: {{ .Values.gateway.tls.existingSecret }}}
{{- end }}
{{- end }}

{{- /* 40 s: docs/operations.md, "Restarts and upgrades". */ -}}
{{- define "conch.terminationGrace" -}}
{{- addf .Values.drain.preStopS .Values.drain.graceS 40 | ceil | int }}
{{- end }}
