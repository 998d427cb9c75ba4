"""Relais beside coturn and beside kernel forwarding: the parts of benches/compare."""
