{{/*
The adapter as a native sidecar. A shop's chart includes these four in its own pod template, with its own `.`
(or, if the dependency has an alias, with `(index .Subcharts "ALIAS")`):

    metadata:
      annotations:
        {{- include "ecticket-adapter.podAnnotations" . | nindent 8 }}
    spec:
      # The shop's own 30 seconds, then the adapter's.
      terminationGracePeriodSeconds: {{ add 30 (include "ecticket-adapter.gracePeriodSeconds" .) }}
      initContainers:
        {{- include "ecticket-adapter.sidecar" . | nindent 8 }}
      volumes:
        {{- include "ecticket-adapter.volumes" . | nindent 8 }}
*/}}

{{/* The init containers: those of plugins, then the adapter with restartPolicy Always. */}}
{{- define "ecticket-adapter.sidecar" -}}
{{- $scope := default . (index .Subcharts "ecticket-adapter") }}
{{- include "ecticket-adapter.checkSidecar" $scope }}
{{- with include "ecticket-adapter.wheelContainers" $scope }}
{{- . }}
{{ end }}
{{- include "ecticket-adapter.container" (dict "scope" $scope "name" $scope.Values.sidecar.name "stages" $scope.Values.stages "resources" $scope.Values.resources "restartPolicy" "Always") }}
{{- end }}

{{/* The volumes of these containers. */}}
{{- define "ecticket-adapter.volumes" -}}
{{- $scope := default . (index .Subcharts "ecticket-adapter") }}
{{- include "ecticket-adapter.checkSidecar" $scope }}
{{- include "ecticket-adapter.podVolumes" (list $scope (include "ecticket-adapter.fullname" $scope)) }}
{{- end }}

{{/* The checksum of the settings: a changed setting rolls the shop's pods. */}}
{{- define "ecticket-adapter.podAnnotations" -}}
{{- $scope := default . (index .Subcharts "ecticket-adapter") }}
{{- include "ecticket-adapter.checkSidecar" $scope -}}
checksum/ecticket-adapter-config: {{ include "ecticket-adapter.checksum" $scope }}
{{- end }}

{{/* The sidecar's share of terminationGracePeriodSeconds. It gets SIGTERM when the shop's containers have ended. */}}
{{- define "ecticket-adapter.gracePeriodSeconds" -}}
{{- $scope := default . (index .Subcharts "ecticket-adapter") }}
{{- include "ecticket-adapter.checkSidecar" $scope }}
{{- default (include "ecticket-adapter.stopSeconds" $scope) $scope.Values.terminationGracePeriodSeconds }}
{{- end }}

{{/* Refuse a scope that is not this chart's, and a release that would run the adapter twice. */}}
{{- define "ecticket-adapter.checkSidecar" -}}
{{- if not (and (hasKey .Values "config") (hasKey .Values "sidecar")) }}
{{- fail "The templates of the sidecar did not find the values of the dependency ecticket-adapter. Is it disabled? If it has an alias, include them with (index .Subcharts \"ALIAS\")." }}
{{- end }}
{{- if ne .Values.mode "sidecar" }}
{{- fail "A pod includes the sidecar, and mode is workload, so the adapter would run twice. Set mode: sidecar below the dependency's name." }}
{{- end }}
{{- end }}
