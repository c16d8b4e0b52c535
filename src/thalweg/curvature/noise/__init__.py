"""How much the gradients of single samples differ, and what batch size follows from it."""
