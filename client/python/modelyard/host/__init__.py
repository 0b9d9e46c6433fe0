"""The process and the machine that the SDK runs on: streams, files, disks, forks, exits."""
