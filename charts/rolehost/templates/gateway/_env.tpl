{{/* What `rolehost gateway` reads (rolehost_runtime/gateway/settings.py); it refuses a name that it does not know. */}}
{{- define "rolehost.gatewayEnv" -}}
- {name: ROLEHOST_NAMESPACE, value: {{ .Release.Namespace }}}
- {name: ROLEHOST_POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: ROLEHOST_REDIS_URL, value: {{ include "rolehost.redisUrl" . | quote }}}
{{- with include "rolehost.redisSecret" . }}
- {name: ROLEHOST_REDIS_PASSWORD, valueFrom: {secretKeyRef: {name: {{ . }}, key: password}}}
{{- end }}
{{- with .Values.archive }}
{{- if .url }}
- {name: ROLEHOST_ARCHIVE_URL, value: {{ .url | quote }}}
{{- else if .forget }}
- {name: ROLEHOST_ARCHIVE_FORGET, value: "true"}
{{- end }}
{{- end }}
{{- with .Values.sessions }}
- {name: ROLEHOST_SESSION_MAX_TURNS, value: {{ .maxTurns | int64 | quote }}}
- {name: ROLEHOST_SESSION_MAX_MEBIBYTES, value: {{ .maxMebibytes | int64 | quote }}}
- {name: ROLEHOST_TENANT_MAX_SESSIONS, value: {{ .maxPerTenant | int64 | quote }}}
{{- end }}
- {name: ROLEHOST_LINK_KEY_FILE, value: /etc/rolehost/link/key.pem}
- {name: ROLEHOST_PLATFORM_KEYS_DIR, value: /etc/rolehost/platform-keys}
- {name: ROLEHOST_ATTESTATION_FILE, value: /etc/rolehost/attestation/root}
- {name: ROLEHOST_MODEL_KEYS_DIR, value: /etc/rolehost/model-keys}
- {name: ROLEHOST_UPLOAD_URL, value: {{ include "rolehost.uploadUrl" . | quote }}}
- {name: ROLEHOST_OPERATOR_SERVICE_ACCOUNT, value: {{ .Release.Namespace }}/{{ include "rolehost.operator" . }}}
- {name: ROLEHOST_ALLOWED_ORIGINS, value: {{ .Values.gateway.allowedOrigins | join "," | quote }}}
- {name: ROLEHOST_PAGE, value: {{ .Values.playground.enabled | quote }}}
{{- if not .Values.gateway.grpc.enabled }}
- {name: ROLEHOST_GRPC_PORT, value: "0"}
{{- end }}
- {name: ROLEHOST_LOG_LEVEL, value: {{ .Values.logLevel | upper }}}
{{- end }}
