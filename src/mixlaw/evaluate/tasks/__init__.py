"""What evaluators share: which keys of a record are read, how texts become sequences, and how scores become rows."""
