"""Photographs made up by a variational autoencoder, and how good and how new they are."""
