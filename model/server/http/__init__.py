"""The process and the connections of the server: sockets, TLS, timeouts, signals. It knows no prompts and answers."""
