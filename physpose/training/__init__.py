"""Training of networks: schedule, loop, exact resume after a kill, data-parallel processes, logs."""
