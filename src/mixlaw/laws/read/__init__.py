"""What a fitted law says: effects of domains, transfer of ranks."""
