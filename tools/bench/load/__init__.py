"""The load test: simulated users on a real server over HTTP. It does not know how the server makes the answers."""
