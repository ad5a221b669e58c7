{{/* The settings of `rolehost operator`. */}}
{{- define "rolehost.operatorEnv" -}}
- {name: ROLEHOST_NAMESPACE, value: {{ .Release.Namespace }}}
- {name: ROLEHOST_POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: ROLEHOST_SANDBOX_IMAGE, value: {{ include "rolehost.image" (dict "image" .Values.images.sandbox "root" $) }}}
- {name: ROLEHOST_SANDBOX_PULL_POLICY, value: {{ .Values.images.sandbox.pullPolicy }}}
- {name: ROLEHOST_PLATFORM_KEYS, value: /etc/rolehost/platform-keys}
- {name: ROLEHOST_ATTESTATION_FILE, value: /etc/rolehost/attestation/root}
- {name: ROLEHOST_GATEWAY_TOKEN, value: /var/run/secrets/rolehost/gateway-token}
- {name: ROLEHOST_PUBLIC_URL, value: {{ include "rolehost.publicUrl" . | quote }}}
- {name: ROLEHOST_UPGRADE_PERCENT, value: {{ .Values.operator.upgrade.maxConcurrentPercent | quote }}}
- {name: ROLEHOST_PROMETHEUS_URL, value: {{ .Values.prometheus.url | quote }}}
- {name: ROLEHOST_PROMETHEUS_MATCHERS, value: {{ .Values.prometheus.matchers | quote }}}
{{- if .Values.prometheus.existingSecret }}
- {name: ROLEHOST_PROMETHEUS_TOKEN, value: /etc/rolehost/prometheus/token}
{{- end }}
- {name: ROLEHOST_LOG_LEVEL, value: {{ .Values.logLevel | upper }}}
{{- end }}
