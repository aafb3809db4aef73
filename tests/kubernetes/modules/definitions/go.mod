// Definitions of resources that the chart makes where a cluster has them.
module firn.dev/tests/kubernetes/definitions

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.83.0
