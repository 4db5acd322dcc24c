"""Scripts that anyone can run to see a claim of the README measured again. Not part of the product."""
