"""Item-to-item ranking over the full catalog: metrics, slices, intervals, baselines, tables."""
