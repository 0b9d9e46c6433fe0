"""The local cache: downloaded content, and indexes of uploads and versions."""
