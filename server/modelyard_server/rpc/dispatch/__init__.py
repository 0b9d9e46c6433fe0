"""What every call passes through: the pipeline, its parts, and its gRPC adapter."""
