"""MKID photon lists: raw readout seconds, beam maps, photon tables."""
