"""Paper forms, filled in with handwritten digits, as scanners and cameras see them."""
