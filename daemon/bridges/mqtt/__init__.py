"""The bridge to a broker of MQTT, as one device of Home Assistant. It does not know the machine or the session."""
