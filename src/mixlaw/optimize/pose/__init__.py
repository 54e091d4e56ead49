"""From a law and a request to the problem that is solved."""
