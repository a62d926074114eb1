"""Item-to-item ranking over the full catalog: metrics, intervals, baselines, tables and plots."""
