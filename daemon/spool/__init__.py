"""The spool: jobs that are not the operator's wait here until the machine is idle. It does not know the model."""
