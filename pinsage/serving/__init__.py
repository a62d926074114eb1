"""`pinsage serve`: a published version over HTTP, switched to the next one without a pause."""
