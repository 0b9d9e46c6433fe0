"""What clients in any language see."""
