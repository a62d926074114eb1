"""Both CSRs of the graph from a Parquet file of any size, in bounded memory (PinSage §3.1).

    interactions.parquet ─► runs ─► contexts → items ─► items → contexts
                            │       └ sorted by blocks   └ transposed by blocks
                            └ keys of a stretch of rows, grouped by ranges of contexts

A counting sort by blocks: the file is read once, in stretches; the keys (context, item) of each
are grouped by ranges of contexts and written to a file, a run. A block of contexts is collected
from all runs, sorted in memory, freed of repeats, and appended to the CSR. The other direction
needs no sort: scanning the first one in order meets the contexts of every item in rising order.

What is finished is on disk in the stage's scratch folder and is not done again after a kill: runs
by the rows they hold, CSRs by the rows appended. Neither depends on the size of the blocks, so
the memory bound may change in between.

The floor, for R interactions in a file of P bytes and E distinct edges among N items and C
contexts, without weights: P + 8 R bytes read (Parquet, runs) + 4 E a block of items (the scan),
and 8 R + 2 · 4 E + 8 (N + C) bytes written. With weights 8 R more each way for the runs, unless
they are counts, and 2 · 4 E more for thresholds with 8 E + 8 E for the weights themselves.
"""
