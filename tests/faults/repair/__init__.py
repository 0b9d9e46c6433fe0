"""What finds damage and brings lost places back: the checker, backups, restores."""
