"""Critical points: found, and told apart by their Hessians."""
