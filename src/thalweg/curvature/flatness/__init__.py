"""How flat a minimum is, by measures that do not agree."""
