"""The process and the machine of the SDK: terminal, files, disks, forks, exits."""
