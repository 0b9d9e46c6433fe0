"""What the SDK is told: settings, keys, certificates and addresses."""
