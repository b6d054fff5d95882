"""What lies open in a frozen tower: small heads on its maps, and how they are measured."""
