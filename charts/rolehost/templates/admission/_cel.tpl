{{/*
What the admission policies say more than once, in CEL. A policy's matchConditions may not use its
variables, so what is ours is written out there.
*/}}

{{/* Whether these labels are a sandbox's; the dot is an expression that gives a map. */}}
{{- define "rolehost.cel.marked" -}}
('rolehost.io/role' in {{ . }} || 'rolehost.io/revision' in {{ . }} || ({{ . }}[?'app.kubernetes.io/name'].orValue('') == 'rolehost-sandbox' && {{ . }}[?'app.kubernetes.io/component'].orValue('') == 'sandbox'))
{{- end }}

{{/* Whether the pod has a sandbox's labels, or had them until now. */}}
{{- define "rolehost.cel.pod" -}}
[object, oldObject].exists(one, one != null && [one.metadata.?labels.orValue({})].exists(labels, {{ include "rolehost.cel.marked" "labels" }}))
{{- end }}

{{/* Whether the workload or its pod template has a sandbox's labels, or had them until now. */}}
{{- define "rolehost.cel.workload" -}}
[object, oldObject].exists(one, one != null && [one.metadata.?labels.orValue({}), one.spec.?template.?metadata.?labels.orValue({})].exists(labels, {{ include "rolehost.cel.marked" "labels" }}))
{{- end }}

{{/* Whether no label changed by which NetworkPolicy, gateway and controllers tell a sandbox. */}}
{{- define "rolehost.cel.sameMarks" -}}
['rolehost.io/role', 'rolehost.io/revision', 'app.kubernetes.io/name', 'app.kubernetes.io/component', 'pod-template-hash'].all(mark, object.metadata.?labels[?mark].orValue('') == oldObject.metadata.?labels[?mark].orValue(''))
{{- end }}

{{/* Whether nothing changed but annotations gate.rolehost.io/…, and those say Passed or Failed: the word of whoever ran evals. */}}
{{- define "rolehost.cel.onlyGates" -}}
request.operation == 'UPDATE' && request.?subResource.orValue('') == '' && object.spec == oldObject.spec
&& object.metadata.?labels.orValue({}) == oldObject.metadata.?labels.orValue({})
&& object.metadata.?finalizers.orValue([]) == oldObject.metadata.?finalizers.orValue([])
&& object.metadata.?ownerReferences.orValue([]) == oldObject.metadata.?ownerReferences.orValue([])
&& [object.metadata.?annotations.orValue({})].all(now, [oldObject.metadata.?annotations.orValue({})].all(before,
now.all(key, (key in before && before[key] == now[key]) || (key.startsWith('gate.rolehost.io/') && now[key] in ['Passed', 'Failed']))
&& before.all(key, key in now || key.startsWith('gate.rolehost.io/'))))
{{- end }}

{{- define "rolehost.cel.byOperator" -}}
request.userInfo.username == 'system:serviceaccount:{{ .Release.Namespace }}:{{ include "rolehost.operator" . }}'
{{- end }}

{{/* The end of a message: for a cluster whose controllers have other names than the values say. */}}
{{- define "rolehost.cel.hint" -}}
(request.userInfo.username.startsWith('system:kube-') || request.userInfo.username.startsWith('system:serviceaccount:kube-system:') ? ' (if this is how the cluster names its controllers, set admission.controllerUsers of the chart)' : '')
{{- end }}
