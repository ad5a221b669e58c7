//go:build tools

// Package parts pins a program of the test cluster.
package parts

import (
	_ "github.com/coredns/coredns"
)
