"""What other implementations of the update rules computed on one small problem, and plain numpy to compare with."""
