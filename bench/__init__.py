"""What is measured, and against whom; each module prints a table."""
