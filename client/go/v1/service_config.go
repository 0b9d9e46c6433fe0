package modelyardv1

import _ "embed"

// ServiceConfig is proto/service-config.json, for grpc.WithDefaultServiceConfig:
// which calls are repeated, their deadlines, and round_robin over the servers.
//
//go:embed service-config.json
var ServiceConfig string
