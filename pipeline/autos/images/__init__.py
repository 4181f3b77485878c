"""Image sets: how they are read, stored, augmented, and handed out in batches."""
