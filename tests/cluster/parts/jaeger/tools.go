//go:build tools

// Package tools names what is built from here.
package tools

import _ "github.com/jaegertracing/jaeger/cmd/all-in-one"
