{{/* How many pods each component has, and what decides it. */}}

{{/* The components of the workload, one a line. */}}
{{- define "ecticket-adapter.components" -}}
{{- join "," (ternary (keys .Values.components | sortAlpha) (list "adapter") (not (empty .Values.components))) }}
{{- end }}

{{/* The replicas that values give a component, or nothing. Takes (list scope component). */}}
{{- define "ecticket-adapter.ownReplicas" -}}
{{- $scope := index . 0 }}
{{- $own := default dict (index $scope.Values.components (index . 1)) }}
{{- $number := ternary $scope.Values.replicas $own.replicas (eq (index . 1) "adapter") }}
{{- if not (kindIs "invalid" $number) }}{{ $number }}{{ end }}
{{- end }}

{{- define "ecticket-adapter.replicas" -}}
{{- default "2" (include "ecticket-adapter.ownReplicas" .) }}
{{- end }}

{{/* hpa, keda or nothing: who decides the replicas of a component. Takes (list scope component). */}}
{{- define "ecticket-adapter.scaledBy" -}}
{{- $values := (index . 0).Values }}
{{- $component := index . 1 }}
{{- if and $values.keda.enabled (has $component (list "adapter" "submit")) }}keda
{{- else if and $values.hpa.enabled (not (include "ecticket-adapter.ownReplicas" .)) }}hpa
{{- end }}
{{- end }}
