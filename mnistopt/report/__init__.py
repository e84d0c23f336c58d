"""The report of a study: one page that opens anywhere, and its pictures as files."""
