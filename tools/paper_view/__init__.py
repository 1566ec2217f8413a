"""Shows the paper of a virtual machine in a terminal or a file. It does not know the line or the daemon."""
