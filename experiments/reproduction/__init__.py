"""A paper's tables and claims, trained again with seeds, judged, and written down."""
