//go:build tools

// Package parts pins a program that tests need.
package parts

import (
	_ "github.com/johannesboyne/gofakes3/cmd/gofakes3"
)
