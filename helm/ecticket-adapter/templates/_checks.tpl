{{/* What is wrong with the values: one line for each, with what to do. The schema checks names, types and ranges. */}}

{{- define "ecticket-adapter.problems" -}}
{{- include "ecticket-adapter.missingValues" . }}
{{- include "ecticket-adapter.settingsProblems" . }}
{{- include "ecticket-adapter.secretsInConfig" . }}
{{- include "ecticket-adapter.secretSources" . }}
{{- include "ecticket-adapter.modeProblems" . }}
{{- include "ecticket-adapter.stageProblems" . }}
{{- include "ecticket-adapter.scalingProblems" . }}
{{- include "ecticket-adapter.routeProblems" . }}
{{- include "ecticket-adapter.podProblems" . }}
{{- include "ecticket-adapter.ownNames" . }}
{{- end }}

{{- define "ecticket-adapter.missingValues" -}}
{{- if not .Values.image.repository }}
- image.repository is empty. Set it to the repository that holds the image built by `make image`.
{{- end }}
{{- if regexMatch "(^|,) *(localhost|127([.][0-9]+){3}|\\[?::1\\]?)(:[0-9]+)? *(,|$)" .Values.config.kafka.bootstrap_servers }}
- config.kafka.bootstrap_servers is {{ .Values.config.kafka.bootstrap_servers }}, and there is no broker in the pod. Set it to the brokers, such as kafka-bootstrap.kafka:9092.
{{- end }}
{{- if not .Values.config.submit.operator }}
- config.submit.operator is not set, and ECTicket refuses every Issue without one. Set it to the operator that is registered at ECTicket.
{{- end }}
{{- if and (not .Values.secretsVolume) (not .Values.config.merchants) }}
- config.merchants names no merchant. Add the MerchantID in quotes, such as "3085676": {}, and its keys to the Secret.
{{- end }}
{{- $byToken := eq (default "" .Values.config.kafka.sasl_mechanism) "OAUTHBEARER" }}
{{- if and (hasPrefix "SASL" .Values.config.kafka.security_protocol) (not $byToken) (or (not .Values.config.kafka.sasl_mechanism) (not .Values.config.kafka.sasl_username)) }}
- config.kafka.security_protocol is {{ .Values.config.kafka.security_protocol }}, which needs sasl_mechanism and sasl_username. Set both.
{{- end }}
{{- if and $byToken .Values.config.kafka.sasl_username }}
- config.kafka.sasl_username is set, and sasl_mechanism OAUTHBEARER logs in with a token. Remove it.
{{- end }}
{{- range $name := list "sasl_mechanism" "sasl_username" }}
{{- if and (not (hasPrefix "SASL" $.Values.config.kafka.security_protocol)) (index $.Values.config.kafka $name) }}
- config.kafka.{{ $name }} is set and security_protocol is {{ $.Values.config.kafka.security_protocol }}, which does not log in. Set it to SASL_SSL or SASL_PLAINTEXT, or remove {{ $name }}.
{{- end }}
{{- end }}
{{- range $name := list "ssl_ca_file" "ssl_cert_file" "ssl_key_file" }}
{{- if and (index $.Values.config.kafka $name) (not (hasSuffix "SSL" $.Values.config.kafka.security_protocol)) }}
- config.kafka.{{ $name }} is set and security_protocol is {{ $.Values.config.kafka.security_protocol }}, which does not encrypt. Set it to SSL or SASL_SSL, or remove {{ $name }}.
{{- end }}
{{- end }}
{{- end }}

{{/* What the adapter refuses when it reads its settings (adapter/settings/groups.py). */}}
{{- define "ecticket-adapter.settingsProblems" -}}
{{- $provider := .Values.config.provider }}
{{- $url := default "" $provider.base_url }}
{{- if and (eq $provider.environment "custom") (not $url) }}
- config.provider.environment is custom and base_url is not set. Set base_url, or choose stage or production.
{{- end }}
{{- if and (ne $provider.environment "custom") $url }}
- config.provider.base_url is set and environment is {{ $provider.environment }}. Set environment: custom, or remove base_url.
{{- end }}
{{- if and $url (not (regexMatch "^https?://[^/[:space:]]+" $url)) }}
- config.provider.base_url is no http or https address. Write it as https://ecticket.example.
{{- else if regexMatch "^https?://[^/?#]*@|[?#]" $url }}
- config.provider.base_url has user info (before an @), a query or a fragment, which are not sent to ECTicket. Give scheme, host, port and path alone.
{{- else if and (not $provider.proxy) .Values.networkPolicy.enabled (not .Values.networkPolicy.provider.to) (regexMatch "^([^.:]+|.*[.]svc([.].*)?|(10|127)([.][0-9]+){3}|(192[.]168|169[.]254|172[.](1[6-9]|2[0-9]|3[01])|100[.](6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7]))([.][0-9]+){2}|f[cd][0-9a-f]{2}:.*|fe[89ab][0-9a-f]:.*)$" (urlParse $url).hostname) }}
- networkPolicy is enabled, config.provider.base_url names {{ (urlParse $url).hostname }}, and networkPolicy.provider.to is empty, which allows public addresses only. Set it to the peers of that host.
{{- end }}
{{- $public := default "" .Values.config.callbacks.public_url }}
{{- if and $public (not (regexMatch "^https?://[^/[:space:]]+" $public)) }}
- config.callbacks.public_url is no http or https address. Write it as https://tickets.shop.example.
{{- else if regexMatch "^https?://[^/?#]*@|[?#]" $public }}
- config.callbacks.public_url has user info (before an @), a query or a fragment; it becomes part of each request to ECPay, and of a ConfigMap. Give scheme, host and path alone.
{{- end }}
{{- if and (eq $provider.family "issuance") (kindIs "invalid" $provider.payment_provider) }}
- config.provider.family is issuance and payment_provider is not set. Set it to 1 if ECPay took the payment, else to 2.
{{- end }}
{{- $roles := dict }}
{{- range $role := keys .Values.config.topics | sortAlpha }}
{{- $name := index $.Values.config.topics $role }}
{{- $first := get $roles (default "" $name) }}
{{- if and $first (ne (printf "%s %s" $first $role) "collected tickets") }}
- config.topics.{{ $first }} and config.topics.{{ $role }} are both {{ $name }}, so the adapter would read its own records as new ones. Give each a topic of its own.
{{- else if $name }}
{{- $_ := set $roles $name $role }}
{{- end }}
{{- end }}
{{- if not .Values.config.secrets_dir }}
- config.secrets_dir is null, and the chart mounts the secrets there. Set it to a path, or leave it out.
{{- end }}
{{- end }}

{{/* What looks like a secret in config, which becomes a ConfigMap, or in extraEnv, which everyone reads who reads pods. */}}
{{- define "ecticket-adapter.secretsInConfig" -}}
{{- $where := "Remove it, and put it into the Secret of existingSecret as" }}
{{- range $name := list "sasl_password" "oauth_client_secret" }}
{{- if hasKey $.Values.config.kafka $name }}
- config.kafka.{{ $name }} is a secret, and config becomes a ConfigMap. {{ $where }} kafka.{{ $name }}.
{{- end }}
{{- end }}
{{- if hasKey .Values.config.provider "proxy_password" }}
- config.provider.proxy_password is a secret, and config becomes a ConfigMap. {{ $where }} provider.proxy_password.
{{- end }}
{{- if hasKey (default dict .Values.config.keys) "signing_key" }}
- config.keys.signing_key is a secret, and config becomes a ConfigMap. {{ $where }} signing_key.
{{- end }}
{{- range $kind := list "merchants" "platforms" }}
{{- range $id, $entry := index $.Values.config $kind }}
{{- range $key := list "hash_key" "hash_iv" }}
{{- if hasKey (default dict $entry) $key }}
- config.{{ $kind }}.{{ $id }}.{{ $key }} is a secret, and config becomes a ConfigMap. {{ $where }} {{ $kind }}.{{ $id }}.{{ $key }}.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if contains "@" .Values.config.kafka.bootstrap_servers }}
- config.kafka.bootstrap_servers has user info (before an @), which Kafka's addresses do not have. Give host:port, set sasl_username, and put the password into the Secret as kafka.sasl_password.
{{- end }}
{{- range $address := splitList "," .Values.config.kafka.bootstrap_servers }}
{{- if not (or (contains "@" $address) (regexMatch "^([^\\s@/:\\[\\]]+|\\[[0-9a-fA-F:.]+\\]):[0-9]{1,5}$" (trim $address))) }}
- config.kafka.bootstrap_servers has {{ trim $address | quote }}, which is not host:port. Write it as kafka-bootstrap.kafka:9092, or as [fd00::1]:9092 for IPv6.
{{- end }}
{{- end }}
{{- range $group := keys .Values.config | sortAlpha }}
{{- $tree := index $.Values.config $group }}
{{- if kindIs "map" $tree }}
{{- if eq $group "plugins" }}
{{- include "ecticket-adapter.secretsBelow" (list "config.plugins.settings" $tree.settings) }}
{{- $tree = omit $tree "settings" }}
{{- else if eq $group "provider" }}
{{- $tree = omit $tree "base_url" }}
{{- else if eq $group "callbacks" }}
{{- $tree = omit $tree "public_url" }}
{{- end }}
{{- include "ecticket-adapter.passwordsBelow" (list (printf "config.%s" $group) $tree) }}
{{- end }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if or (regexMatch (include "ecticket-adapter.secretName" $) .name) (regexMatch (include "ecticket-adapter.secretValue" $) (default "" .value)) }}
- extraEnv sets {{ .name }}, which looks like a secret, and everyone who may read pods reads it. Remove it, mount it as a file (secretFiles), and give the plugin the path.
{{- end }}
{{- end }}
{{- end }}

{{/* The end of a name that is a secret's. */}}
{{- define "ecticket-adapter.secretName" -}}
(?i)(^|[_-])(secrets?|passw(or)?d|tokens?|(api|access|private|signing|secret|hash)[_-]?keys?|hash[_-]iv|credentials?|authorization|dsn|pwd|passphrase|webhook[_-]?urls?|otlp[_-](traces[_-])?headers)$
{{- end }}

{{/* A value that holds a secret: an address with a password or a token, or a private key. */}}
{{- define "ecticket-adapter.secretValue" -}}
(?i)://[^/@: ]*:[^/@ ]+@|[?&](access_?|auth_?|api_?)?(token|key|secret|password|signature|sig)=|-----BEGIN [A-Z ]*PRIVATE KEY
{{- end }}

{{/* Texts of config that hold a secret, at any depth. Takes (list path node). */}}
{{- define "ecticket-adapter.passwordsBelow" -}}
{{- $path := index . 0 }}
{{- $node := index . 1 }}
{{- if kindIs "map" $node }}
{{- range $key := keys $node | sortAlpha }}
{{- include "ecticket-adapter.passwordsBelow" (list (printf "%s.%s" $path $key) (index $node $key)) }}
{{- end }}
{{- else if kindIs "slice" $node }}
{{- range $index, $each := $node }}
{{- include "ecticket-adapter.passwordsBelow" (list (printf "%s[%d]" $path $index) $each) }}
{{- end }}
{{- else if and (kindIs "string" $node) (regexMatch (include "ecticket-adapter.secretValue" .) $node) }}
- {{ $path }} holds a password, a token or a private key, and config becomes a ConfigMap. Remove it, and mount it as a file (secretFiles).
{{- end }}
{{- end }}

{{/* Keys of plugins' settings that are called like a secret, at any depth. Takes (list path tree). */}}
{{- define "ecticket-adapter.secretsBelow" -}}
{{- $path := index . 0 }}
{{- range $key, $value := index . 1 }}
{{- if kindIs "map" $value }}
{{- include "ecticket-adapter.secretsBelow" (list (printf "%s.%s" $path $key) $value) }}
{{- else if and (kindIs "slice" $value) (kindIs "map" (first $value)) }}
{{- range $index, $each := $value }}
{{- include "ecticket-adapter.secretsBelow" (list (printf "%s.%s[%d]" $path $key $index) $each) }}
{{- end }}
{{- else if regexMatch (include "ecticket-adapter.secretName" .) $key }}
- {{ $path }}.{{ $key }} looks like a secret, and config becomes a ConfigMap. Remove it, mount it as a file (secretFiles), and give the plugin the path, such as the webhook's secret_files.
{{- else }}
{{- include "ecticket-adapter.passwordsBelow" (list (printf "%s.%s" $path $key) $value) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ecticket-adapter.secretSources" -}}
{{- if .Values.secretsVolume }}
{{- if or .Values.existingSecret .Values.secretFiles }}
- secretsVolume and existingSecret or secretFiles are set, and both are config.secrets_dir. Choose one.
{{- end }}
{{- else }}
{{- $files := include "ecticket-adapter.secretFiles" . | fromYaml }}
{{- if not (or .Values.existingSecret .Values.secretFiles) }}
- existingSecret is empty, so no merchant has keys. Set it to the name of the Secret that holds them (or use secretFiles or secretsVolume).
{{- else }}
{{- range $kind := list "merchants" "platforms" }}
{{- range $id, $_ := index $.Values.config $kind }}
{{- range $key := list "hash_key" "hash_iv" }}
{{- if not (hasKey $files (printf "%s/%s/%s" $kind $id $key)) }}
- {{ printf "%s/%s/%s" $kind $id $key }} has no source. Add it to secretFiles, or set existingSecret.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name := include "ecticket-adapter.loginFiles" $ | fromJsonArray }}
{{- if not (hasKey $files (printf "kafka/%s" $name)) }}
- config.kafka.sasl_mechanism is set and kafka/{{ $name }} has no source. Add it to secretFiles, or set existingSecret.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ecticket-adapter.modeProblems" -}}
{{- if eq .Values.mode "sidecar" }}
{{- $values := .Values }}
{{- range $name := list "hpa" "keda" "pdb" "topologySpread" "networkPolicy" }}
{{- if (index $values $name).enabled }}
- {{ $name }} is enabled and mode is sidecar. It applies to whole pods, which are the shop's: put it into the shop's chart.
{{- end }}
{{- end }}
{{- $pod := list "podLabels" "podAnnotations" }}
{{- if not .Values.topicsJob.enabled }}
{{- $pod = concat $pod (list "imagePullSecrets" "nodeSelector" "tolerations" "affinity" "priorityClassName" "serviceAccountName") }}
{{- end }}
{{- range $name := $pod }}
{{- if index $values $name }}
- {{ $name }} is set and mode is sidecar. The shop's pod template decides it: set it there.
{{- end }}
{{- end }}
{{- if .Values.components }}
- components is set and mode is sidecar. A sidecar is one container: choose its stages with stages.
{{- end }}
{{- if not (kindIs "invalid" .Values.replicas) }}
- replicas is set and mode is sidecar. The shop's workload has the number of pods.
{{- end }}
{{- if and (empty .Values.sidecar.podLabels) (or (include "ecticket-adapter.hasRoute" .) .Values.monitoring.podMonitor.enabled .Values.monitoring.serviceMonitor.enabled) }}
- sidecar.podLabels is empty, so the callbacks route or the monitor selects no pod. Set it to the labels of the shop's pods.
{{- end }}
{{- $labels := include "ecticket-adapter.sidecarLabels" . | fromYaml }}
{{- $job := include "ecticket-adapter.topicsLabels" . | fromYaml }}
{{- $only := list }}
{{- range $key, $value := $labels }}
{{- if ne $value (get $job $key) }}{{ $only = append $only $key }}{{ end }}
{{- end }}
{{- if and .Values.topicsJob.enabled $labels (not $only) }}
- sidecar.podLabels are labels of the topics Job's pod, too, which neither receives callbacks nor has metrics. Add a label that only the shop's pods have, such as app.kubernetes.io/name.
{{- end }}
{{- end }}
{{- end }}

{{- define "ecticket-adapter.stageProblems" -}}
{{- $callbacks := .Values.config.callbacks.enabled }}
{{- if and .Values.components .Values.stages }}
- components and stages are set. Stages belong to the one Deployment: list them under components only.
{{- end }}
{{- if and (not $callbacks) (or (hasKey .Values.components "receive") (eq (join "," .Values.stages) "receive")) }}
- The stage receive runs alone and config.callbacks.enabled is false, so it has nothing to do. Enable callbacks, or remove it.
{{- end }}
{{- $sinks := or .Values.plugins.wheels .Values.plugins.files .Values.config.plugins.modules .Values.config.plugins.paths .Values.config.plugins.settings }}
{{- $none := eq .Values.config.plugins.load "none" }}
{{- if and (or (hasKey .Values.components "deliver") (eq (join "," .Values.stages) "deliver")) (or $none (not $sinks)) }}
- The stage deliver runs alone and there is no sink, so it cannot start. Set up config.plugins.settings.webhook or .log (docs/sinks.md) or bring a plugin with a sink, or remove it.
{{- end }}
{{- if and (or (hasKey .Values.components "collect") (eq (join "," .Values.stages) "collect")) (not .Values.config.collect.issue_types) }}
- The stage collect runs alone and config.collect.issue_types is empty, so it cannot start. Name issue types, such as [serial_number], or remove it.
{{- end }}
{{- if and (or (hasKey .Values.components "reconcile") (eq (join "," .Values.stages) "reconcile")) (not .Values.config.reconcile.at) }}
- The stage reconcile runs alone and config.reconcile.at is empty, so it cannot start. Set it to a time, such as "05:00", or remove it.
{{- end }}
{{- if and $none (or .Values.plugins.wheels .Values.plugins.files) }}
- config.plugins.load is none and plugins has wheels or files, which would not be loaded. Remove one of the two.
{{- end }}
{{- end }}

{{- define "ecticket-adapter.scalingProblems" -}}
{{- $scope := . }}
{{- $hpa := .Values.hpa }}
{{- $keda := .Values.keda }}
{{- if and $hpa.enabled $keda.enabled }}
- hpa and keda are enabled, and both would set the same number of pods. Choose one: keda for lag, hpa for CPU.
{{- end }}
{{- if and .Values.components (not (kindIs "invalid" .Values.replicas)) }}
- components and replicas are set, and each component has a number of its own. Set components.NAME.replicas.
{{- end }}
{{- if and (not .Values.components) (not (kindIs "invalid" .Values.replicas)) (or $hpa.enabled $keda.enabled) }}
- replicas is set and {{ ternary "keda" "hpa" $keda.enabled }} is enabled, which would overwrite it. Remove replicas.
{{- end }}
{{- range $name, $scaler := dict "hpa" $hpa "keda" $keda }}
{{- if and $scaler.enabled (gt (int $scaler.minReplicas) (int $scaler.maxReplicas)) }}
- {{ $name }}.minReplicas is above {{ $name }}.maxReplicas. Exchange them.
{{- end }}
{{- end }}
{{- if $keda.enabled }}
{{- if or (and .Values.components (not (hasKey .Values.components "submit"))) (and .Values.stages (not (has "submit" .Values.stages))) }}
- keda is enabled and no Deployment of this release submits, so there is no lag to scale on. Add the stage submit, or disable keda.
{{- end }}
{{- if include "ecticket-adapter.ownReplicas" (list . "submit") }}
- keda is enabled and components.submit.replicas is set, which would overwrite it. Remove the replicas.
{{- end }}
{{- if and (ne .Values.config.kafka.security_protocol "PLAINTEXT") (not $keda.authenticationRef) }}
- keda is enabled, the brokers speak {{ .Values.config.kafka.security_protocol }}, and keda.authenticationRef is empty. Name a TriggerAuthentication with KEDA's own login.
{{- end }}
{{- end }}
{{- if $hpa.enabled }}
{{- $scaled := list }}
{{- range $component := splitList "," (include "ecticket-adapter.components" .) }}
{{- if not (include "ecticket-adapter.ownReplicas" (list $scope $component)) }}
{{- $scaled = append $scaled $component }}
{{- $own := default dict (index $scope.Values.components $component) }}
{{- if not (dig "requests" "cpu" "" (default $scope.Values.resources $own.resources)) }}
- hpa is enabled and {{ $component }} has no CPU request, of which the target is a percentage. Set resources.requests.cpu.
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.components (empty $scaled) }}
- hpa is enabled and every component has replicas, so it would scale nothing. Remove the replicas of what it shall scale.
{{- end }}
{{- end }}
{{- end }}

{{- define "ecticket-adapter.routeProblems" -}}
{{- $callbacks := .Values.callbacks }}
{{- if and $callbacks.ingress.enabled $callbacks.httpRoute.enabled }}
- callbacks.ingress and callbacks.httpRoute are enabled, and both would serve the same address. Choose one.
{{- end }}
{{- if include "ecticket-adapter.hasRoute" . }}
{{- if not (include "ecticket-adapter.anyReceives" .) }}
- A callbacks route is enabled and no pod of this release receives callbacks. Add the stage receive and set config.callbacks.enabled, or disable the route.
{{- end }}
{{- $url := urlParse (default "" .Values.config.callbacks.public_url) }}
{{- if not .Values.config.callbacks.public_url }}
- A callbacks route is enabled and config.callbacks.public_url is not set, so the route has no host and ECPay never calls. Set it to https://HOST.
{{- else if and $url.hostname (trimAll "/" $url.path) }}
- config.callbacks.public_url has the path {{ $url.path }}, and the route forwards the two callback paths alone. Remove the path, or make a route of your own that strips it.
{{- end }}
{{- if and $callbacks.httpRoute.enabled (not $callbacks.httpRoute.parentRefs) }}
- callbacks.httpRoute is enabled and parentRefs is empty, so no gateway serves it. Name the gateway.
{{- end }}
{{- end }}
{{- if and (or (include "ecticket-adapter.hasRoute" .) .Values.monitoring.serviceMonitor.enabled) (regexMatch "^[0-9]" (include "ecticket-adapter.fullname" .)) }}
- The name {{ include "ecticket-adapter.fullname" . }} begins with a digit, which Services must not. Set fullnameOverride.
{{- end }}
{{- end }}

{{- define "ecticket-adapter.podProblems" -}}
{{- $config := .Values.config }}
{{- if and .Values.monitoring.podMonitor.enabled .Values.monitoring.serviceMonitor.enabled }}
- monitoring.podMonitor and monitoring.serviceMonitor are enabled, so each pod would be scraped twice. Choose one.
{{- end }}
{{- $needed := add (include "ecticket-adapter.stopSeconds" .) (include "ecticket-adapter.preStopSeconds" .) }}
{{- if and .Values.terminationGracePeriodSeconds (lt (int .Values.terminationGracePeriodSeconds) (int $needed)) }}
- terminationGracePeriodSeconds is {{ .Values.terminationGracePeriodSeconds }}, and stopping may take {{ $needed }} s (config.shutdown.grace_seconds + 10, + preStopSeconds with a route). Kubernetes would kill the adapter with calls on the wire. Raise it, or leave it empty.
{{- end }}
{{- $ports := dict }}
{{- range $group := list "admin" "callbacks" "console" }}
{{- $port := toString (int (index $config $group).port) }}
{{- if and (eq $group "console") (not $config.console.enabled) }}
{{- else if hasKey $ports $port }}
- config.{{ get $ports $port }}.port and config.{{ $group }}.port are both {{ $port }}. Give each a port of its own.
{{- else }}
{{- $_ := set $ports $port $group }}
{{- end }}
{{- end }}
{{- range $group := list "admin" "callbacks" }}
{{- $server := index $config $group }}
{{- if eq (int $server.port) 0 }}
- config.{{ $group }}.port is 0, any free port, and probes and Services need a fixed one. Set it.
{{- end }}
{{- if regexMatch "^(127([.][0-9]+){3}|localhost|::1)$" $server.host }}
- config.{{ $group }}.host is {{ $server.host }}, which nothing outside of the container reaches, neither probes nor routes. Set 0.0.0.0 (IPv4) or "::" (IPv6 and IPv4).
{{- end }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if hasPrefix "ECTICKET_" .name }}
- extraEnv sets {{ .name }}, a setting that would overrule config unseen. Set it in config, or, if it is a secret, as a file.
{{- end }}
{{- end }}
{{- end }}

{{/* Names that the chart gives itself, or that are given twice: one of the two would be lost, or the API server refuses both. */}}
{{- define "ecticket-adapter.ownNames" -}}
{{- $values := .Values }}
{{- $labels := concat (include "ecticket-adapter.ownLabels" . | fromYaml | keys) (include "ecticket-adapter.runsLabel" . | fromYaml | keys) (list "app.kubernetes.io/component" "pod-template-hash") }}
{{- $common := keys (default dict $values.commonLabels) }}
{{- $own := dict "commonLabels" $labels "podLabels" $labels "monitoring.labels" $labels }}
{{- $given := dict "commonLabels" $common "podLabels" (keys (default dict $values.podLabels)) "monitoring.labels" (keys (default dict $values.monitoring.labels)) }}
{{- $_ := set $own "podAnnotations" (list "checksum/config" "kubectl.kubernetes.io/default-container") }}
{{- $_ := set $given "podAnnotations" (keys (default dict $values.podAnnotations)) }}
{{- $_ := set $own "extraVolumes" (list "ecticket-config" "ecticket-secrets" "ecticket-tmp" "ecticket-wheels" "ecticket-plugins") }}
{{- if $values.plugins.wheels }}
{{- $_ := set $own "extraEnv" (list "PYTHONPATH") }}
{{- end }}
{{- $lists := dict "extraEnv" (list $values.extraEnv "name") "extraVolumes" (list $values.extraVolumes "name") "extraVolumeMounts" (list $values.extraVolumeMounts "mountPath") "secretFiles" (list $values.secretFiles "path") "plugins.wheels" (list $values.plugins.wheels "name") }}
{{- range $name, $list := $lists }}
{{- $seen := list }}
{{- range $each := index $list 0 }}
{{- $seen = append $seen (index $each (index $list 1)) }}
{{- end }}
{{- $_ := set $given $name $seen }}
{{- end }}
{{- range $name := keys $given | sortAlpha }}
{{- $once := list }}
{{- range $key := index $given $name }}
{{- if has $key (default list (get $own $name)) }}
- {{ $name }} has {{ $key }}, which this chart sets itself. Remove it, or give it another name.
{{- else if and (has $key $common) (has $name (list "podLabels" "monitoring.labels")) }}
- {{ $name }} and commonLabels both have {{ $key }}. Remove it from one of the two.
{{- else if has $key $once }}
- {{ $name }} has {{ $key }} twice. Remove one of the two.
{{- end }}
{{- $once = append $once $key }}
{{- end }}
{{- end }}
{{- $mounts := list (include "ecticket-adapter.configFolder" .) (default "/" $values.config.secrets_dir) "/tmp" }}
{{- if $values.plugins.wheels }}
{{- $mounts = append $mounts "/opt/ecticket-adapter/plugins" }}
{{- end }}
{{- range $values.extraVolumeMounts }}
{{- $path := printf "%s/" (trimSuffix "/" .mountPath) }}
{{- range $mount := $mounts }}
{{- $mine := printf "%s/" (trimSuffix "/" $mount) }}
{{- if or (hasPrefix $mine $path) (hasPrefix $path $mine) }}
- extraVolumeMounts has {{ $path }}, and this chart mounts {{ $mine }}: one would hide the other, or cannot be mounted. Choose another folder.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
