"""Pictures, with boxes and masks."""
