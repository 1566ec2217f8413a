"""The line: ports and their errors, the serial settings, bytes and BREAK, the speed test. Knows no characters."""
