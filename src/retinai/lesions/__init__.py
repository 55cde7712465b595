"""Lesions that masks show: findings, measured and scored."""
