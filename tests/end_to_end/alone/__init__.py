"""Tests that bring up a stack of their own."""
