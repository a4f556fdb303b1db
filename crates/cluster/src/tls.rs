//! Certificates of the peer port.
