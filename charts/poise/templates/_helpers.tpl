{{- define "poise.labels" -}}
app.kubernetes.io/name: poise
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: controller
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "poise.selector" -}}
app.kubernetes.io/name: poise
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end }}

{{- define "poise.collector" -}}
app.kubernetes.io/name: poise
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: collector
{{- end }}

{{- define "poise.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}-controller
{{- end }}

{{- define "poise.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{- /*
What the controller does with a namespace's objects: the calls that it makes through controller/api.py, and kopf's lists
and watches.  tests/contract/test_chart.py holds the table of those calls, and fails when one is added there or here.
*/ -}}
{{- define "poise.rules" -}}
- apiGroups: [poise.dev]
  resources: [searches]
  verbs: [list, watch]
- apiGroups: [poise.dev]
  resources: [candidates, evaluations]
  verbs: [list, watch, create, patch]
- apiGroups: [poise.dev]
  resources: [searches/status, candidates/status, evaluations/status]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, create]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [create]
- apiGroups: [""]
  resources: [services]
  verbs: [create]
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, create, update]
{{- end }}
