"""What every law is: the contract, its inputs, folds and intervals."""
