"""What every room needs and no room owns: errors, files, reading what may be damaged, settings, seeds, the command line."""
