"""Pages with fields: read, straightened, and cut into what may be digits."""
