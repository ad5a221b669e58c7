//go:build tools

// Package parts pins a program of the test cluster.
package parts

import (
	_ "go.etcd.io/etcd/server/v3"
)
