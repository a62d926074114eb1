"""What the catalog says of items, and which items are alike by it."""
