//! Weights and a key become one cluster: the stable hash, least movement.
