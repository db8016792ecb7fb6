{{/* Parts of a pod that the Deployment, the sidecar and the topics Job share. */}}

{{/* Environment: settings come from the file, so commands in `kubectl exec` use the same ones. */}}
{{- define "ecticket-adapter.env" -}}
- name: ECTICKET_CONFIG
  value: {{ include "ecticket-adapter.configFolder" . }}/settings.yaml
{{- if .Values.plugins.wheels }}
- name: PYTHONPATH
  value: /opt/ecticket-adapter/plugins
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "ecticket-adapter.volumeMounts" -}}
- name: ecticket-config
  mountPath: {{ include "ecticket-adapter.configFolder" . }}
  readOnly: true
- name: ecticket-secrets
  mountPath: {{ .Values.config.secrets_dir }}
  readOnly: true
- name: ecticket-tmp
  mountPath: /tmp
{{- if .Values.plugins.wheels }}
- name: ecticket-plugins
  mountPath: /opt/ecticket-adapter/plugins
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Volumes. Takes (list scope configMapName). */}}
{{- define "ecticket-adapter.podVolumes" -}}
{{- $scope := index . 0 -}}
- name: ecticket-config
  configMap:
    name: {{ index . 1 }}
    items:
      - {key: settings.yaml, path: settings.yaml}
      {{- range $file := keys $scope.Values.plugins.files | sortAlpha }}
      - {key: {{ $file }}, path: plugins/{{ $file }}}
      {{- end }}
- name: ecticket-secrets
  {{- if $scope.Values.secretsVolume }}
  {{- toYaml $scope.Values.secretsVolume | nindent 2 }}
  {{- else }}
  projected:
    # 0444: readable by any uid, the image's or the one that OpenShift chooses. Only this container mounts it.
    defaultMode: 292
    sources:
      {{- $files := include "ecticket-adapter.secretFiles" $scope | fromYaml }}
      {{- $sources := dict }}
      {{- range $path, $file := $files }}
      {{- $source := printf "%s %v" $file.secretName (default false $file.optional) }}
      {{- $_ := set $sources $source (append (default list (get $sources $source)) $path) }}
      {{- end }}
      {{- range $source := keys $sources | sortAlpha }}
      - secret:
          name: {{ first (splitList " " $source) }}
          {{- if hasSuffix "true" $source }}
          optional: true
          {{- end }}
          items:
            {{- range $path := index $sources $source | sortAlpha }}
            - {key: {{ (index $files $path).key | quote }}, path: {{ $path | quote }}}
            {{- end }}
      {{- end }}
  {{- end }}
- name: ecticket-tmp
  emptyDir:
    sizeLimit: {{ $scope.Values.tmpSizeLimit }}
{{- if $scope.Values.plugins.wheels }}
- name: ecticket-wheels
  emptyDir:
    sizeLimit: {{ $scope.Values.plugins.sizeLimit }}
- name: ecticket-plugins
  emptyDir:
    sizeLimit: {{ $scope.Values.plugins.sizeLimit }}
{{- end }}
{{- with $scope.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Init containers that bring plugins as wheels: one for each image, then one that unpacks them. */}}
{{- define "ecticket-adapter.wheelContainers" -}}
{{- range $index, $wheels := .Values.plugins.wheels }}
{{- if $index }}
{{ end -}}
- name: ecticket-wheels-{{ $wheels.name }}
  image: {{ $wheels.image }}
  imagePullPolicy: {{ $.Values.image.pullPolicy }}
  command: [cp, -r, {{ printf "%s/." $wheels.path | quote }}, /ecticket-wheels/]
  securityContext:
    {{- toYaml $.Values.securityContext | nindent 4 }}
  resources:
    requests: {cpu: 10m, memory: 32Mi}
    limits: {memory: 128Mi}
  volumeMounts:
    - {name: ecticket-wheels, mountPath: /ecticket-wheels}
{{- end }}
{{- if .Values.plugins.wheels }}
- name: ecticket-plugins
  image: {{ include "ecticket-adapter.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  # A wheel is a zip file; unpacked into a folder of PYTHONPATH, its entry points are found.
  command:
    - python
    - -c
    - |
      {{- .Files.Get "files/unpack_wheels.py" | nindent 6 }}
    - /ecticket-wheels
    - /opt/ecticket-adapter/plugins
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  resources:
    requests: {cpu: 10m, memory: 32Mi}
    limits: {memory: 128Mi}
  volumeMounts:
    - {name: ecticket-wheels, mountPath: /ecticket-wheels, readOnly: true}
    - {name: ecticket-plugins, mountPath: /opt/ecticket-adapter/plugins}
{{- end }}
{{- end }}

{{/* The adapter's container without probes for readiness. Takes a dict: scope, name, stages, resources, preStop. */}}
{{- define "ecticket-adapter.container" -}}
{{- $scope := .scope }}
{{- $values := $scope.Values -}}
- name: {{ .name }}
  image: {{ include "ecticket-adapter.image" $scope }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  command: [ecticket-adapter]
  args: [run{{ if .stages }}, --only, {{ join "," .stages | quote }}{{ end }}]
  {{- if .restartPolicy }}
  restartPolicy: {{ .restartPolicy }}
  {{- end }}
  env:
    {{- include "ecticket-adapter.env" $scope | nindent 4 }}
  ports:
    {{- if include "ecticket-adapter.receives" (list $scope .stages) }}
    - {name: ect-callbacks, containerPort: {{ $values.config.callbacks.port }}, protocol: TCP}
    {{- end }}
    - {name: ect-admin, containerPort: {{ $values.config.admin.port }}, protocol: TCP}
  startupProbe:
    httpGet: {path: /livez, port: ect-admin}
    {{- toYaml $values.probes.startup | nindent 4 }}
  livenessProbe:
    httpGet: {path: /livez, port: ect-admin}
    {{- toYaml $values.probes.liveness | nindent 4 }}
  {{- if .readiness }}
  readinessProbe:
    httpGet: {path: /readyz, port: ect-admin}
    {{- toYaml $values.probes.readiness | nindent 4 }}
  {{- end }}
  {{- if .preStopSeconds }}
  lifecycle:
    preStop:
      exec:
        command: [sleep, {{ .preStopSeconds | quote }}]
  {{- end }}
  # For an end without a message in /dev/termination-log, such as a kill.
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext:
    {{- toYaml $values.securityContext | nindent 4 }}
  resources:
    {{- toYaml .resources | nindent 4 }}
  volumeMounts:
    {{- include "ecticket-adapter.volumeMounts" $scope | nindent 4 }}
{{- end }}

{{/* What all pods of this chart have beside containers and volumes. */}}
{{- define "ecticket-adapter.podSpec" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
