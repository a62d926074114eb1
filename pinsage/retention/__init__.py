"""What nobody needs any more: deciding what goes, and removing it."""
