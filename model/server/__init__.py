"""The HTTP server of one model for many clients, as an ASGI application. It knows neither sockets nor engine passes."""
