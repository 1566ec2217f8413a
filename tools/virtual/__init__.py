"""`asr33 virtual`: the simulated Teletype with this terminal as its keyboard and paper. It does not know the daemon."""
