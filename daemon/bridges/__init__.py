"""Bridges to networks of people: each hears people there and answers them. They do not know the machine or the line."""
