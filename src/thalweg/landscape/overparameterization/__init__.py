"""What more parameters than data leave free: directions that change nothing, and walks along them."""
