"""What runs record by themselves."""
