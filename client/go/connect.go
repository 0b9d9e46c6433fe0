package main

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	pb "modelyard/v1"
)

// connect opens a channel to grpc:// or http:// (plain) or grpcs:// or https:// (TLS). It sends nothing yet.
func connect(url, key string) (*grpc.ClientConn, error) {
	scheme, target, _ := strings.Cut(url, "://")
	transport := credentials.NewTLS(nil) // the system's certificate authorities
	if scheme == "grpc" || scheme == "http" {
		transport = insecure.NewCredentials()
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(pb.ServiceConfig),
		// Detects broken connections and ends their streams.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	}
	if key != "" {
		options = append(options, grpc.WithPerRPCCredentials(apiKey(key)))
	}
	return grpc.NewClient("dns:///"+target, options...)
}

// apiKey is sent as metadata of every call.
type apiKey string

func (key apiKey) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(key)}, nil
}

// RequireTransportSecurity returns false: plain addresses are used on loopback and in service meshes.
func (key apiKey) RequireTransportSecurity() bool { return false }
