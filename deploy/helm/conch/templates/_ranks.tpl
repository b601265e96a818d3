{{- /* A replica over several pods: mpirun in the leader starts the ranks of the others over ssh. */ -}}
{{- define "conch.hosts" -}}
{{- $engine := include "conch.engine" . | fromJson }}
{{- $hosts := list }}
{{- range $index := until (int .Values.engine.nodes) }}
{{- $hosts = append $hosts (printf "$(POD_NAME)%s.%s:%v" (ternary "" (printf "-%d" $index) (eq $index 0)) (include "conch.fullname" $) $engine.ranks) }}
{{- end }}
{{- join "," $hosts }}
{{- end }}

{{- define "conch.ssh" -}}
ssh -F none -p {{ .Values.multiNode.sshPort }} -i /etc/conch/ssh/ssh-privatekey -o UserKnownHostsFile=/run/ssh/known_hosts -o LogLevel=ERROR -o BatchMode=yes
{{- end }}

{{- define "conch.sshMounts" -}}
- {name: ssh-key, mountPath: /etc/conch/ssh, readOnly: true}
- {name: ssh, mountPath: /run/ssh}
{{- end }}

{{- define "conch.sshVolumes" -}}
- name: ssh-key
  secret: {secretName: {{ .Values.multiNode.sshSecret }}, defaultMode: 0440}
- name: ssh
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- end }}

{{- /* The one key is the leader's and every worker's own, so that each knows the other. */ -}}
{{- define "conch.sshFiles" -}}
name: ssh-files
{{ include "conch.containerCommon" . }}
command:
  - sh
  - -ec
  - |
    key=$(ssh-keygen -y -f /etc/conch/ssh/ssh-privatekey)
    umask 077
    echo "$key" > /run/ssh/authorized_keys
    echo "* $key" > /run/ssh/known_hosts
volumeMounts:
  {{- include "conch.sshMounts" . | nindent 2 }}
{{- end }}

{{- define "conch.waitForWorkers" -}}
name: wait-for-workers
{{ include "conch.containerCommon" . }}
command:
  - sh
  - -c
  - |
    for index in "$@"; do
      until {{ include "conch.ssh" . }} "$POD_NAME-$index.{{ include "conch.fullname" . }}" true; do sleep 2; done
    done
  - wait
  {{- range $index := until (int .Values.engine.nodes) }}
  {{- if $index }}
  - {{ $index | quote }}
  {{- end }}
  {{- end }}
env:
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
volumeMounts:
  {{- include "conch.sshMounts" . | nindent 2 }}
{{- end }}

{{- /* PMIX_HOSTNAME: Open MPI 5 fails with long names of machines. */ -}}
{{- define "conch.workerContainer" -}}
{{- $engine := include "conch.engine" . | fromJson -}}
name: ranks
{{ include "conch.containerCommon" . }}
command:
  - sh
  - -ec
  - |
    exec /usr/sbin/sshd -D -e -f /dev/null -p {{ .Values.multiNode.sshPort }} -h /etc/conch/ssh/ssh-privatekey \
      -o AuthorizedKeysFile=/run/ssh/authorized_keys -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no \
      -o UsePAM=no -o StrictModes=no -o PidFile=none \
      -o "SetEnv=HOME=$HOME TMPDIR=$TMPDIR PMIX_HOSTNAME=n-$(hostname | sha1sum | cut -c1-12)"
env:
  {{- include "conch.env" . | nindent 2 }}
ports:
  - {name: ssh, containerPort: {{ .Values.multiNode.sshPort }}}
readinessProbe:
  tcpSocket: {port: ssh}
resources:
  {{- include "conch.resources" (dict "resources" .Values.resources "gpus" $engine.gpus "gpuResource" .Values.gpuResource) | nindent 2 }}
volumeMounts:
  {{- include "conch.mounts" (dict "root" . "readOnly" true) | nindent 2 }}
  {{- include "conch.sshMounts" . | nindent 2 }}
{{- end }}
