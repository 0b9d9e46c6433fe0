"""Methods that move content: uploads, commits, downloads."""
