"""The batch engine, which schedules the passes of one model over many answers. It knows neither HTTP nor JSON."""
