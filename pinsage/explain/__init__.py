"""Why an item is recommended for another: what the graph, the walks and the content say."""
