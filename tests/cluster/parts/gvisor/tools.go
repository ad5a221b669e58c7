//go:build tools

// Package parts pins a program of the test cluster.
package parts

import (
	_ "gvisor.dev/gvisor/runsc"
	_ "gvisor.dev/gvisor/shim"
)
