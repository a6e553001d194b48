"""What others published, read safely and written in this package's forms; exports to other runtimes."""
