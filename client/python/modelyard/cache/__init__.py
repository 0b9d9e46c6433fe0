"""The cache of this machine: downloaded content, and what is known of uploads and versions."""
