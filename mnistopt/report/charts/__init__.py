"""Pictures: each a function from a tidy data frame to an Altair chart."""
