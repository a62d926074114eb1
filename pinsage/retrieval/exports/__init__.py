"""A published version in the formats of other systems, with the catalog's own ids."""
