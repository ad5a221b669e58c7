{{/*
Names are constants, written here once: the operator, the gateway and the command line know
them too (rolehost_api/names.py), and the kinds are cluster-wide, so there is one installation.
*/}}
{{- define "rolehost.gateway" -}}rolehost-gateway{{- end }}
{{- define "rolehost.operator" -}}rolehost-operator{{- end }}
{{- define "rolehost.operatorTenant" -}}rolehost-operator-tenant{{- end }}
{{- define "rolehost.upload" -}}rolehost-upload{{- end }}
{{- define "rolehost.embedder" -}}rolehost-embedder{{- end }}
{{- define "rolehost.collector" -}}rolehost-collector{{- end }}
{{- define "rolehost.redis" -}}rolehost-redis{{- end }}
{{- define "rolehost.reader" -}}rolehost-reader{{- end }}
{{- define "rolehost.keys" -}}rolehost-keys{{- end }}
{{- define "rolehost.lease" -}}rolehost-operator{{- end }}
{{- define "rolehost.linkSecret" -}}{{ .Values.link.existingSecret | default "rolehost-link" }}{{- end }}
{{- define "rolehost.linkPublic" -}}{{ .Values.link.existingConfigMap | default "rolehost-link-public" }}{{- end }}
{{- define "rolehost.attestationSecret" -}}{{ .Values.attestation.existingSecret | default "rolehost-attestation" }}{{- end }}
{{- define "rolehost.namespaceSecret" -}}rolehost-link{{- end }}
{{- define "rolehost.platformKeys" -}}rolehost-platform-keys{{- end }}
{{- define "rolehost.trustedImages" -}}rolehost-sandbox-images{{- end }}
{{- define "rolehost.toolKeys" -}}{{ .Values.reach.toolKeysSecret | default "rolehost-tool-keys" }}{{- end }}
{{- define "rolehost.modelKeys" -}}{{ .Values.modelKeys.existingSecret | default "rolehost-model-keys" }}{{- end }}
{{- define "rolehost.redisSecret" -}}{{ .Values.redis.existingSecret | default (ternary "" (include "rolehost.redis" .) (ne .Values.redis.url "")) }}{{- end }}
{{- define "rolehost.redisUrl" -}}{{ .Values.redis.url | default (printf "redis://%s:6379/0" (include "rolehost.redis" .)) }}{{- end }}
{{- define "rolehost.uploadUrl" -}}http://{{ include "rolehost.upload" . }}:8082{{- end }}
{{- define "rolehost.gatewayPublic" -}}rolehost-gateway-public{{- end }}

{{/* Where clients connect, without a path: as given, else the host of the way in, else the Service. */}}
{{- define "rolehost.publicUrl" -}}
{{- $host := .Values.gateway.exposure.host -}}
{{- $inside := printf "ws://%s.%s.svc:8080" (include "rolehost.gateway" .) .Release.Namespace -}}
{{- .Values.gateway.publicUrl | default (ternary (printf "wss://%s" $host) $inside (ne $host "")) | trimSuffix "/" -}}
{{- end }}

{{/* An image's full name: (dict "image" … "root" $). */}}
{{- define "rolehost.image" -}}
{{ .image.repository }}{{ if hasPrefix "sha256:" (.image.tag | default "") }}@{{ else }}:{{ end }}{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}
