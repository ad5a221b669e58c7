{{/* What `rolehost upload` reads: no Redis, no model key, no token. */}}
{{- define "rolehost.uploadEnv" -}}
- {name: ROLEHOST_BUNDLES_DIR, value: /var/lib/rolehost/bundles}
- {name: ROLEHOST_PLATFORM_KEYS_DIR, value: /etc/rolehost/platform-keys}
- {name: ROLEHOST_LOG_LEVEL, value: {{ .Values.logLevel | upper }}}
{{- end }}
