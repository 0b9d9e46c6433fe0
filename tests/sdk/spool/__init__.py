"""The spool: files to which runs write what they log."""
