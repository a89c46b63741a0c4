"""The published rules, and those derived from the estimator: from statistics to a `Demand`."""
