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
contexts: P bytes read; 8 R written as runs and read twice, to count and to place; 4 E read twice
to transpose, to count and to place, the latter again for every further block of items; 2 · 4 E +
8 (N + C) bytes written as the CSRs. A sum of weights adds 8 R to each pass over the runs; weights
of any kind add 8 E written and read for the second direction, and 2 · 4 E written as thresholds.

Memory: the blocks, 8 (N + C) bytes for degrees, and a row group of the file.
"""
