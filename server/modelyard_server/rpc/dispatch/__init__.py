"""What every call passes before and after its handler."""
