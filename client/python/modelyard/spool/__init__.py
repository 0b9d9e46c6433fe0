"""The spool: files on local disk to which runs write what they log, and from which it is sent."""
