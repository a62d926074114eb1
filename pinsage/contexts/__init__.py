"""Contexts (users, boards, baskets) as vectors that search the index of the items."""
