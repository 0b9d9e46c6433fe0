"""What the operating system does in tests: full disks, failing system calls, no locks."""
