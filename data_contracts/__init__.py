"""What the data must look like, checked before work is spent on it.

    tables.py, matrix.py      what is looked at: a snapshot and embeddings, as frames
    vocabulary.py, suites.py  what must hold: Great Expectations suites built from the configuration
    runner.py, checks.py      which suites run over which tables, with nothing sent anywhere
    findings.py               what was found: breaches and tolerated flaws, with offending rows
    docs.py, page.py          the Data Docs: pages that open from disk, without network or script
    gate.py                   the two stages, and `enforce`, which stops a run

The contract decides whether a run may go on; it never changes data. Quarantine is the library's.
"""
