"""What paired runs say about a prediction."""
