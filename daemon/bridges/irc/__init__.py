"""The bridge to IRC and Twitch: a pure protocol core, the rooms, and the connection. It does not know the machine."""
