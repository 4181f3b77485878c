"""Statistics, tables and plots of what the grid has measured."""
