{{/* The rules of files/monitoring, as they watch this release. */}}

{{- define "ecticket-adapter.ruleGroups" -}}
{{- $groups := list }}
{{- range $file := list "recording" "alerts" "stages" }}
{{- range $group := (printf "files/monitoring/%s.yaml" $file | $.Files.Get | fromYaml).groups }}
{{- $rules := list }}
{{- range $rule := $group.rules }}
{{- $watched := include "ecticket-adapter.watched" (list $ (dig "labels" "stage" "" $rule)) }}
{{- if $watched }}
{{- $rules = append $rules (include "ecticket-adapter.rule" (list $ $rule $watched) | fromYaml) }}
{{- end }}
{{- end }}
{{- with $rules }}
{{- $groups = append $groups (dict "name" $group.name "rules" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml (dict "groups" $groups) }}
{{- end }}

{{/*
Matchers of the series that a rule of this stage reads, or nothing if no pod of this release runs the stage. A rule
without a stage reads the whole namespace. An own workload's pods are known by name; a sidecar's are the shop's.
Takes (list scope stage).
*/}}
{{- define "ecticket-adapter.watched" -}}
{{- $scope := index . 0 }}
{{- $stage := index . 1 }}
{{- $run := include "ecticket-adapter.stages" $scope | fromYamlArray }}
{{- $off := include "ecticket-adapter.stagesOff" $scope | fromYaml }}
{{- $namespace := printf "namespace=\"%s\"" $scope.Release.Namespace }}
{{- if not $stage }}
{{- $namespace }}
{{- else if or (hasKey $off $stage) (not (has $stage $run)) }}
{{- else if eq $stage "receive" }}
{{- /* Together with other stages, it is gone when they are. */}}
{{- if hasKey $scope.Values.components "receive" }}
{{- printf "%s, pod=~\"%s-.*\"" $namespace (include "ecticket-adapter.componentName" (list $scope "receive")) }}
{{- end }}
{{- else if eq $scope.Values.mode "workload" }}
{{- printf "%s, pod=~\"%s-.*\"" $namespace (include "ecticket-adapter.fullname" $scope) }}
{{- else }}
{{- $namespace }}
{{- end }}
{{- end }}

{{/* One rule, with these matchers in each of its selectors. Takes (list scope rule matchers). */}}
{{- define "ecticket-adapter.rule" -}}
{{- $scope := index . 0 }}
{{- $rule := deepCopy (index . 1) }}
{{- $selectors := printf "${1}{%s, ${3}}" (index . 2) }}
{{- $expr := regexReplaceAll "\\b(ecticket_[a-z0-9_:]+)([{]([^}]*)[}])?" $rule.expr $selectors | replace ", }" "}" }}
{{- $expr = replace "topic=\"orders.paid\"" (printf "topic=\"%s\"" $scope.Values.config.topics.orders_paid) $expr }}
{{- $expr = replace "> 3750" (printf "> %d" (int64 $scope.Values.monitoring.rules.lagThreshold)) $expr }}
{{- $_ := set $rule "expr" $expr }}
{{- if dig "labels" "stage" "" $rule }}
{{- $_ := set $rule.labels "namespace" $scope.Release.Namespace }}
{{- end }}
{{- with $rule.annotations }}
{{- $_ := set . "runbook_url" (replace "docs/operations/alerts.md" $scope.Values.monitoring.rules.runbook .runbook_url) }}
{{- end }}
{{- toYaml $rule }}
{{- end }}
