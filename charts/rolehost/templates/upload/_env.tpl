{{/* The settings of `rolehost upload`: no Redis, no model key, no token. */}}
{{- define "rolehost.uploadEnv" -}}
- {name: ROLEHOST_DATA, value: /data}
- {name: ROLEHOST_PLATFORM_KEYS, value: /etc/rolehost/platform-keys}
- {name: ROLEHOST_LOG_LEVEL, value: {{ .Values.logLevel }}}
{{- end }}
