"""Examines the installation, the line and the running daemon; it names faults and their cures, and mends nothing."""
