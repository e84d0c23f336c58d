"""What is known of replicas: histories, tables, statistics."""
