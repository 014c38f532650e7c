"""Models: declared in models.yml, one small file each, one shared path to train them and one to score with them."""
