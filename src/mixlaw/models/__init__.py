"""What gives losses and gradients of a language model."""
