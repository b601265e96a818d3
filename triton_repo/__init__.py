"""Where an engine runs: the Triton models of the ensemble, and the contracts that they share with the gateway."""
