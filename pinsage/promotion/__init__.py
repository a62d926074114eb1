"""Whether tonight's model replaces the one that readers follow: evidence, and a pure decision."""
