"""One study, from what is asked to what is found."""
