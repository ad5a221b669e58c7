//go:build tools

// Package parts pins a program of the test cluster.
package parts

import (
	_ "helm.sh/helm/v3/cmd/helm"
)
