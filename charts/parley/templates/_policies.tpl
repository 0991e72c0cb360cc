{{- /* Which requests an admission policy looks at: those in the namespaces that are served. */ -}}
{{- define "parley.policyScope" -}}
matchPolicy: Equivalent
{{- with .Values.watchNamespaces }}
namespaceSelector:
  matchExpressions:
  - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson . }}}
{{- end }}
resourceRules:
{{- end }}
