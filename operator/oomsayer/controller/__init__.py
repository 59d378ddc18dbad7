"""The operator: reports in, verdicts out to statuses, annotations, Events and metrics."""
