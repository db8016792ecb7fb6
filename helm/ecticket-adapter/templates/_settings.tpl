{{/* The settings file, and what other templates need to know about it. */}}

{{/* A tree without its nulls: a null in values means that the setting is left out. */}}
{{- define "ecticket-adapter.withoutNulls" -}}
{{- $kept := dict }}
{{- range $key, $value := . }}
{{- if kindIs "map" $value }}
{{- $_ := set $kept $key (include "ecticket-adapter.withoutNulls" $value | fromYaml) }}
{{- else if not (kindIs "invalid" $value) }}
{{- $_ := set $kept $key $value }}
{{- end }}
{{- end }}
{{- toYaml $kept }}
{{- end }}

{{/* settings.yaml: `config`, the name of this deployment at the brokers, and the paths of `plugins.files`. */}}
{{- define "ecticket-adapter.settings" -}}
{{- $config := deepCopy .Values.config }}
{{- range $kind := list "merchants" "platforms" }}
{{- range $id, $entry := index $config $kind }}
{{- $_ := set (index $config $kind) $id (default dict $entry) }}
{{- end }}
{{- end }}
{{- if not $config.kafka.client_id }}
{{- /* The full name differs between two aliases in one release. 63 + 1 + 48 characters; the setting takes 200. */}}
{{- $_ := set $config.kafka "client_id" (printf "%s.%s" .Release.Namespace (include "ecticket-adapter.fullname" .)) }}
{{- end }}
{{- $paths := default list $config.plugins.paths }}
{{- range $file := keys .Values.plugins.files | sortAlpha }}
{{- $paths = append $paths (printf "%s/plugins/%s" (include "ecticket-adapter.configFolder" $) $file) }}
{{- end }}
{{- $_ := set $config.plugins "paths" $paths }}
{{- include "ecticket-adapter.withoutNulls" $config }}
{{- end }}

{{- define "ecticket-adapter.configFolder" -}}
/etc/ecticket-adapter/config
{{- end }}

{{/* Content of the ConfigMap. */}}
{{- define "ecticket-adapter.configData" -}}
settings.yaml: |
  {{- include "ecticket-adapter.settings" . | nindent 2 }}
{{- range $file := keys .Values.plugins.files | sortAlpha }}
{{ $file }}: |
  {{- index $.Values.plugins.files $file | nindent 2 }}
{{- end }}
{{- end }}

{{- define "ecticket-adapter.checksum" -}}
{{- include "ecticket-adapter.configData" . | sha256sum }}
{{- end }}

{{/* The stages that the pods of this release run, one a line. */}}
{{- define "ecticket-adapter.stages" -}}
{{- $given := ternary (keys .Values.components | sortAlpha) .Values.stages (not (empty .Values.components)) }}
{{- toYaml (default (list "submit" "confirm" "collect" "reconcile" "deliver" "receive") $given) }}
{{- end }}

{{/* Whether config sets up a sink of the adapter's own: "true", or nothing. Plugins may bring others. */}}
{{- define "ecticket-adapter.hasSink" -}}
{{- $plugins := .Values.config.plugins }}
{{- $settings := default dict $plugins.settings }}
{{- $off := default list $plugins.disabled }}
{{- $webhook := and (not (has "webhook" $off)) (get (default dict $settings.webhook) "endpoints") }}
{{- $log := and (not (has "log" $off)) (get (default dict $settings.log) "enabled") }}
{{- if and (ne $plugins.load "none") (or $webhook $log) }}true{{ end }}
{{- end }}

{{/* Stages that config turns off, with the setting that does, as a mapping. */}}
{{- define "ecticket-adapter.stagesOff" -}}
{{- $config := .Values.config }}
{{- $off := dict }}
{{- if not $config.collect.issue_types }}{{ $_ := set $off "collect" "config.collect.issue_types is empty" }}{{ end }}
{{- if not $config.reconcile.at }}{{ $_ := set $off "reconcile" "config.reconcile.at is empty" }}{{ end }}
{{- if not $config.callbacks.enabled }}{{ $_ := set $off "receive" "config.callbacks.enabled is false" }}{{ end }}
{{- if not (include "ecticket-adapter.hasSink" .) }}{{ $_ := set $off "deliver" "config.plugins.settings has neither webhook nor log; a plugin may bring a sink" }}{{ end }}
{{- toYaml $off }}
{{- end }}

{{/* Whether any pod of this release receives callbacks. */}}
{{- define "ecticket-adapter.anyReceives" -}}
{{- include "ecticket-adapter.receives" (list . (include "ecticket-adapter.stages" . | fromYamlArray)) }}
{{- end }}

{{/* Seconds from the removal of a pod from the callbacks' Service to SIGTERM; a sidecar's pod is the shop's. */}}
{{- define "ecticket-adapter.preStopSeconds" -}}
{{- ternary .Values.preStopSeconds 0 (and (eq .Values.mode "workload") (include "ecticket-adapter.hasRoute" . | eq "true")) }}
{{- end }}

{{/* Whether the stage receive runs among these stages (all, if the list is empty). Takes (list scope stages). */}}
{{- define "ecticket-adapter.receives" -}}
{{- $scope := index . 0 }}
{{- $stages := index . 1 }}
{{- if and $scope.Values.config.callbacks.enabled (or (empty $stages) (has "receive" $stages)) }}true{{ end }}
{{- end }}

{{- define "ecticket-adapter.hasRoute" -}}
{{- if or .Values.callbacks.ingress.enabled .Values.callbacks.httpRoute.enabled }}true{{ end }}
{{- end }}

{{/* The host of config.callbacks.public_url, without port. */}}
{{- define "ecticket-adapter.callbackHost" -}}
{{- (urlParse (default "" .Values.config.callbacks.public_url)).hostname }}
{{- end }}

{{/* The two callback paths (CallbackSettings.PATHS). */}}
{{- define "ecticket-adapter.callbackPaths" -}}
- /callbacks/ecticket/refund
- /callbacks/ecticket/use-status
{{- end }}

{{/* Seconds that the adapter needs to stop after SIGTERM: the grace of work in flight, then closing connections. */}}
{{- define "ecticket-adapter.stopSeconds" -}}
{{- add (ceil .Values.config.shutdown.grace_seconds) 10 }}
{{- end }}

{{/* The secret files below `kafka/` that the login needs, as a list of names. */}}
{{- define "ecticket-adapter.loginFiles" -}}
{{- $kafka := .Values.config.kafka }}
{{- $files := list }}
{{- if eq (default "" $kafka.sasl_mechanism) "OAUTHBEARER" }}
{{- if $kafka.oauth_token_url }}
{{- $files = append $files "oauth_client_secret" }}
{{- if not $kafka.oauth_client_id }}
{{- $files = append $files "oauth_client_id" }}
{{- end }}
{{- end }}
{{- else if $kafka.sasl_mechanism }}
{{- $files = append $files "sasl_password" }}
{{- end }}
{{- toJson $files }}
{{- end }}

{{/* Secret files as `path: {secretName, key, optional}`, each path once; secretFiles take precedence. */}}
{{- define "ecticket-adapter.secretFiles" -}}
{{- $files := dict }}
{{- if .Values.existingSecret }}
{{- range $kind := list "merchants" "platforms" }}
{{- range $id := keys (index $.Values.config $kind) | sortAlpha }}
{{- range $key := list "hash_key" "hash_iv" }}
{{- $_ := set $files (printf "%s/%s/%s" $kind $id $key) (dict "secretName" $.Values.existingSecret "key" (printf "%s.%s.%s" $kind $id $key)) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name := include "ecticket-adapter.loginFiles" . | fromJsonArray }}
{{- $_ := set $files (printf "kafka/%s" $name) (dict "secretName" $.Values.existingSecret "key" (printf "kafka.%s" $name)) }}
{{- end }}
{{- $provider := .Values.config.provider }}
{{- if or $provider.proxy $provider.trust_env }}
{{- range $name := list "proxy_username" "proxy_password" }}
{{- if not (index $provider $name) }}
{{- $source := dict "secretName" $.Values.existingSecret "key" (printf "provider.%s" $name) "optional" (not $provider.proxy_username) }}
{{- $_ := set $files (printf "provider/%s" $name) $source }}
{{- end }}
{{- end }}
{{- end }}
{{- $_ := set $files "signing_key" (dict "secretName" .Values.existingSecret "key" "signing_key" "optional" true) }}
{{- end }}
{{- range .Values.secretFiles }}
{{- $_ := set $files .path (dict "secretName" .secretName "key" .key) }}
{{- end }}
{{- toYaml $files }}
{{- end }}
