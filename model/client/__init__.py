"""Models on other computers: HTTP requests to servers, and failover between servers and a local model.

Knows nothing of the machine, the configuration or the server's side; the HTTP bodies are in `model.openai_api`.
"""
