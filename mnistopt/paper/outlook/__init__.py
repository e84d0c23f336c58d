"""The paper's outlook: what it names and did not do."""
