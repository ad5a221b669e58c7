{{/* What `rolehost gateway` reads (rolehost_runtime/gateway/settings.py); it refuses a name that it does not know. */}}
{{- define "rolehost.gatewayEnv" -}}
- {name: ROLEHOST_NAMESPACE, value: {{ .Release.Namespace }}}
- {name: ROLEHOST_POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: ROLEHOST_REDIS_URL, value: {{ include "rolehost.redisUrl" . | quote }}}
{{- with include "rolehost.redisSecret" . }}
- {name: ROLEHOST_REDIS_PASSWORD, valueFrom: {secretKeyRef: {name: {{ . }}, key: password}}}
{{- end }}
- {name: ROLEHOST_LINK_KEY_FILE, value: /etc/rolehost/link/key.pem}
- {name: ROLEHOST_PLATFORM_KEYS_DIR, value: /etc/rolehost/platform-keys}
- {name: ROLEHOST_ATTESTATION_FILE, value: /etc/rolehost/attestation/root}
- {name: ROLEHOST_MODEL_KEYS_DIR, value: /etc/rolehost/model-keys}
- {name: ROLEHOST_UPLOAD_URL, value: {{ include "rolehost.uploadUrl" . | quote }}}
- {name: ROLEHOST_SANDBOX_IMAGES, value: {{ include "rolehost.sandboxImages" . | quote }}}
- {name: ROLEHOST_OPERATOR_SERVICE_ACCOUNT, value: {{ .Release.Namespace }}/{{ include "rolehost.operator" . }}}
- {name: ROLEHOST_ALLOWED_ORIGINS, value: {{ .Values.gateway.allowedOrigins | join "," | quote }}}
- {name: ROLEHOST_PAGE, value: {{ .Values.playground.enabled | quote }}}
- {name: ROLEHOST_LOG_LEVEL, value: {{ .Values.logLevel | upper }}}
{{- end }}

{{/*
Images whose pods a gateway dials: the present one, those of the values, and up to three that the installed gateway
trusted before, whose pods still run while an upgrade goes through the cluster. The last need a cluster behind helm.
*/}}
{{- define "rolehost.sandboxImages" -}}
{{- $images := prepend .Values.gateway.trustedSandboxImages (include "rolehost.image" (dict "image" .Values.images.sandbox "root" $)) | uniq }}
{{- $earlier := list }}
{{- $installed := lookup "apps/v1" "Deployment" .Release.Namespace (include "rolehost.gateway" .) | default dict }}
{{- range $container := dig "spec" "template" "spec" "containers" list $installed }}
{{- range $entry := $container.env }}
{{- if eq $entry.name "ROLEHOST_SANDBOX_IMAGES" }}
{{- $earlier = splitList "," ($entry.value | default "") | compact }}
{{- end }}
{{- end }}
{{- end }}
{{- range $image := $images }}
{{- $earlier = without $earlier $image }}
{{- end }}
{{- range $index, $image := $earlier }}
{{- if lt $index 3 }}
{{- $images = append $images $image }}
{{- end }}
{{- end }}
{{- $images | join "," }}
{{- end }}
