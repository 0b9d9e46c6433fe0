"""What documents, packages and protos promise."""
