"""What scripts see of the SDK."""
