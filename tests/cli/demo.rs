//! The demo, whole: it verifies, and nothing is left of it.
