"""The adapter's HTTP doors: health, metrics and information for the people and machines that look after it."""
