{{/*
What each way in needs, and what it cannot use: a setting without effect is a mistake that shows in production.
Nothing where all is well.
*/}}
{{- define "rolehost.exposureChecked" -}}
{{- $exposure := .Values.gateway.exposure -}}
{{- $needs := dict "None" list "Ingress" (list "host") "HTTPRoute" (list "host" "parentRefs") "LoadBalancer" list -}}
{{- $takes := dict "None" list "Ingress" (list "host" "className" "tlsSecret" "annotations")
  "HTTPRoute" (list "host" "parentRefs" "annotations") "LoadBalancer" (list "host" "className" "annotations") -}}
{{- range get $needs $exposure.type }}
{{- if not (get $exposure .) }}
{{- fail (printf "gateway.exposure.%s is missing: type %s needs it" . $exposure.type) }}
{{- end }}
{{- end }}
{{- range list "host" "className" "parentRefs" "tlsSecret" "annotations" }}
{{- if and (get $exposure .) (not (has . (get $takes $exposure.type))) }}
{{- fail (printf "gateway.exposure.%s is set, and type %s has no use for it: change gateway.exposure.type, or take it out" . $exposure.type) }}
{{- end }}
{{- end }}
{{- end }}
