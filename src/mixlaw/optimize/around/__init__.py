"""What surrounds an optimum: prices, gains, frontiers, robustness, baselines."""
