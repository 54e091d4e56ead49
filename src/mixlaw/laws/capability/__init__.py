"""Laws from a loss or other features to an accuracy, one per file; none ships yet, users write their own."""
