"""Tests of photon lists."""
