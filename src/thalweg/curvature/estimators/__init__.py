"""Numbers of a matrix that random vectors estimate, each with its error."""
