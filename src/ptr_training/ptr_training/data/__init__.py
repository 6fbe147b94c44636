"""Episodes and their store, reviews, replay, normalisation, task ids, augmentation."""
