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
- {name: ROLEHOST_TOOL_KEYS_DIR, value: /etc/rolehost/tool-keys}
{{- with .Values.reach }}
- {name: ROLEHOST_REACH_ENABLED, value: {{ .enabled | quote }}}
- {name: ROLEHOST_REACH_ALLOWED_CIDRS, value: {{ .allowedCidrs | join "," | quote }}}
- {name: ROLEHOST_REACH_REFUSED_CIDRS, value: {{ .refusedCidrs | join "," | quote }}}
- {name: ROLEHOST_REACH_PER_MINUTE, value: {{ .perMinute | int64 | quote }}}
- {name: ROLEHOST_REACH_PER_ROLE, value: {{ .perRole | int64 | quote }}}
{{- end }}
- {name: ROLEHOST_UPLOAD_URL, value: {{ include "rolehost.uploadUrl" . | quote }}}
- {name: ROLEHOST_OPERATOR_SERVICE_ACCOUNT, value: {{ .Release.Namespace }}/{{ include "rolehost.operator" . }}}
- {name: ROLEHOST_ALLOWED_ORIGINS, value: {{ .Values.gateway.allowedOrigins | join "," | quote }}}
- {name: ROLEHOST_PAGE, value: {{ .Values.playground.enabled | quote }}}
{{- with .Values.gateway.plugins }}
- {name: ROLEHOST_PLUGINS, value: {{ join "," . | quote }}}
{{- end }}
{{- with .Values.gateway.memoryStore }}
- {name: ROLEHOST_MEMORY_STORE, value: {{ . | quote }}}
{{- end }}
{{- if .Values.playground.inspectMebibytes }}
- {name: ROLEHOST_INSPECT_MEBIBYTES, value: {{ int .Values.playground.inspectMebibytes | quote }}}
{{- end }}
{{- if not .Values.gateway.grpc.enabled }}
- {name: ROLEHOST_GRPC_PORT, value: "0"}
{{- end }}
{{- with include "rolehost.otlpEndpoint" . }}
- {name: ROLEHOST_OTLP_ENDPOINT, value: {{ . | quote }}}
- {name: ROLEHOST_TRACE_RATIO, value: {{ $.Values.telemetry.ratio | quote }}}
- {name: ROLEHOST_TRACE_SLOW_SECONDS, value: {{ $.Values.telemetry.slowSeconds | quote }}}
- {name: ROLEHOST_TRACE_CONTENT, value: {{ $.Values.telemetry.content | quote }}}
- {name: ROLEHOST_TRACE_TRUST_CLIENTS, value: {{ $.Values.telemetry.trustClients | quote }}}
{{- end }}
- {name: ROLEHOST_LOG_LEVEL, value: {{ .Values.logLevel | upper }}}
{{- end }}
