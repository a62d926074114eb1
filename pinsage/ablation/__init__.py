"""What each idea of the paper is worth: its Table 1 and its scaling tables, on anybody's data."""
