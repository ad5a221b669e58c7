{{/* Where gateways send traces; empty: nowhere. */}}
{{- define "rolehost.otlpEndpoint" -}}
{{- $own := ternary (printf "http://%s:4318" (include "rolehost.collector" .)) "" .Values.telemetry.collector.enabled -}}
{{- .Values.telemetry.otlpEndpoint | default $own -}}
{{- end }}

{{/* What an attribute may be called (gateway/tracing/spans.py: ALLOWED); whatever else a span says, nobody hears of it. */}}
{{- define "rolehost.spanAttributes" -}}
- error.type
- gen_ai.conversation.id
- gen_ai.operation.name
- gen_ai.provider.name
- gen_ai.request.max_tokens
- gen_ai.request.model
- gen_ai.response.finish_reasons
- gen_ai.response.model
- gen_ai.tool.name
- gen_ai.usage.cache_read.input_tokens
- gen_ai.usage.input_tokens
- gen_ai.usage.output_tokens
- rolehost.backend
- rolehost.cut_short
- rolehost.first_chunk_ms
- rolehost.outcome
- rolehost.reported_by_pod.degraded
- rolehost.reported_by_pod.transitions
- rolehost.revision
- rolehost.role
- rolehost.steps_left_out
- rolehost.tenant
- rolehost.timer
- rolehost.ttft_ms
- rolehost.turn
- rolehost.usage_estimated
- server.address
- server.port
{{- if .Values.telemetry.content }}
- gen_ai.input.messages
- gen_ai.output.messages
{{- end }}
{{- end }}

{{- define "rolehost.spanNames" -}}^(turn|queue|session\.load|guard\.message|route|hooks|recall|tool\.list|model\.call|guard\.reply|tool\.call|fetch|commit)${{- end }}

{{/* Of the Collector. First what keeps it alive, then what is worth keeping of the traces, then what may be told of that. */}}
{{- define "rolehost.collectorConfig" -}}
{{- $collector := .Values.telemetry.collector -}}
receivers:
  otlp:
    protocols:
      http: {endpoint: "0.0.0.0:4318"}
processors:
  memory_limiter: {check_interval: 1s, limit_percentage: 80, spike_limit_percentage: 20}
  # A turn's trace comes whole: nothing is waited for but what was on its way.
  tail_sampling:
    decision_wait: 2s
    num_traces: 20000
    expected_new_traces_per_sec: 500
    policies:
    - {name: failed, type: status_code, status_code: {status_codes: [ERROR]}}
    - {name: slow, type: latency, latency: {threshold_ms: {{ int $collector.slowMilliseconds }}}}
    - {name: some, type: probabilistic, probabilistic: {sampling_percentage: {{ $collector.keepPercent }}}}
  # Gateways say nothing else; should one ever, or somebody in its place, it ends here.
  transform:
    error_mode: propagate
    trace_statements:
    - context: resource
      statements:
      - 'keep_keys(attributes, ["service.name", "service.version", "service.instance.id", "k8s.pod.name", "k8s.namespace.name"])'
      - 'truncate_all(attributes, 256)'
    - context: span
      statements:
      - 'keep_keys(attributes, {{ include "rolehost.spanAttributes" . | fromYamlArray | toJson }})'
      - 'truncate_all(attributes, {{ ternary 32768 256 .Values.telemetry.content }})'
      - 'set(name, "other") where not IsMatch(name, "{{ include "rolehost.spanNames" . | replace "\\" "\\\\" }}")'
      - 'set(status.message, "other") where not IsMatch(status.message, "^[a-z0-9_]{0,64}$")'
  batch: {timeout: 1s, send_batch_size: 1024, send_batch_max_size: 4096}
exporters:
{{- with $collector.export }}
{{- if .endpoint }}
  otlp_grpc:
    endpoint: {{ .endpoint | quote }}
    tls: {insecure: {{ .insecure }}}
    {{- with .headers }}
    headers: {{ toJson . }}
    {{- end }}
    sending_queue: {enabled: true, queue_size: 256}
    retry_on_failure: {enabled: true, max_elapsed_time: 120s}
{{- else }}
  debug: {verbosity: basic}
{{- end }}
{{- end }}
service:
  telemetry:
    logs: {level: warn, encoding: json}
    metrics:
      readers: [{pull: {exporter: {prometheus: {host: "0.0.0.0", port: 8888}}}}]
  pipelines:
    traces:
      receivers: [otlp]
      processors: [memory_limiter, tail_sampling, transform, batch]
      exporters: [{{ ternary "otlp_grpc" "debug" (ne $collector.export.endpoint "") }}]
{{- end }}
