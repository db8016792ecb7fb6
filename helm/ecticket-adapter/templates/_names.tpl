{{/* Names and labels. Every template below takes the chart's own scope: `.` in this chart, the subchart's in a shop's. */}}

{{- define "ecticket-adapter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 48 | trimSuffix "-" }}
{{- end }}

{{/* Name of the release's objects; 48 characters leave room for a suffix within the 63 of a DNS label. */}}
{{- define "ecticket-adapter.fullname" -}}
{{- $name := include "ecticket-adapter.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 48 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Name of one component's objects: of the one Deployment ("adapter"), or of a stage. Takes (list scope component). */}}
{{- define "ecticket-adapter.componentName" -}}
{{- $fullname := include "ecticket-adapter.fullname" (index . 0) }}
{{- $component := index . 1 }}
{{- if eq $component "adapter" }}{{ $fullname }}{{ else }}{{ printf "%s-%s" $fullname $component }}{{ end }}
{{- end }}

{{- define "ecticket-adapter.labels" -}}
{{ include "ecticket-adapter.ownLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "ecticket-adapter.ownLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "ecticket-adapter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "ecticket-adapter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ecticket-adapter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The label of pods that run the adapter, by which a Service can tell them from the topics Job's pod. */}}
{{- define "ecticket-adapter.runsLabel" -}}
ecticket-adapter/runs: "true"
{{- end }}

{{/* All labels of the topics Job's pod. */}}
{{- define "ecticket-adapter.topicsLabels" -}}
{{ include "ecticket-adapter.labels" . }}
app.kubernetes.io/component: topics
{{- end }}

{{/* sidecar.podLabels, whose values may be templates. */}}
{{- define "ecticket-adapter.sidecarLabels" -}}
{{- tpl (toYaml .Values.sidecar.podLabels) . }}
{{- end }}

{{/* Labels that select the pods which receive ECPay's notifications. */}}
{{- define "ecticket-adapter.receiverLabels" -}}
{{- if eq .Values.mode "sidecar" }}
{{- include "ecticket-adapter.sidecarLabels" . }}
{{- else }}
{{- include "ecticket-adapter.selectorLabels" . }}
app.kubernetes.io/component: {{ ternary "receive" "adapter" (not (empty .Values.components)) }}
{{- end }}
{{- end }}

{{/* Labels that select all pods which run the adapter, and not that of the topics Job. */}}
{{- define "ecticket-adapter.runningLabels" -}}
{{- if eq .Values.mode "sidecar" }}
{{- include "ecticket-adapter.sidecarLabels" . }}
{{- else }}
{{- include "ecticket-adapter.selectorLabels" . }}
{{ include "ecticket-adapter.runsLabel" . }}
{{- end }}
{{- end }}

{{- define "ecticket-adapter.image" -}}
{{- $image := .Values.image }}
{{- if $image.digest }}
{{- printf "%s%s@%s" $image.repository (ternary (printf ":%s" $image.tag) "" (not (empty $image.tag))) $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}
