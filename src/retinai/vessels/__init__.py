"""Vessels of the retina: arteries and veins in photographs, by published networks, a filter, or masks of other tools.

A class map is uint8 of the photograph's size: 0 none, 1 artery, 2 vein, 3 both or uncertain (`class_map`).
"""
