{{- define "parley.fullname" -}}
{{- if contains "parley" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-parley" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Objects of the whole cluster. Two releases that serve all namespaces meet in this name, and Helm refuses the
       second: they would serve the same tasks. */ -}}
{{- define "parley.clusterName" -}}
{{- if .Values.watchNamespaces -}}
{{- printf "%s.%s" (include "parley.fullname" .) .Release.Namespace -}}
{{- else -}}
{{- include "parley.fullname" . -}}
{{- end -}}
{{- end -}}

{{- /* dict "root" $ "component" "operator" */ -}}
{{- define "parley.selectorLabels" -}}
app.kubernetes.io/name: parley
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "parley.labels" -}}
{{ include "parley.selectorLabels" . }}
app.kubernetes.io/part-of: parley
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "parley.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "parley.databaseSecret" -}}
{{- if .Values.postgres.bundled -}}
{{- if .Values.database.urlSecretRef.name -}}
{{- fail "set either database.urlSecretRef.name or postgres.bundled=true, not both" -}}
{{- end -}}
{name: {{ include "parley.fullname" . }}-postgres, key: url}
{{- else -}}
{{- if not .Values.database.urlSecretRef.name -}}
{{- fail "there is no database: set database.urlSecretRef.name to a Secret whose key `url` holds a postgresql:// URL, or postgres.bundled=true to try Parley with a Postgres of its own" -}}
{{- end -}}
{name: {{ .Values.database.urlSecretRef.name }}, key: {{ .Values.database.urlSecretRef.key }}}
{{- end -}}
{{- end -}}
