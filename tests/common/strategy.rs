//! Problems for property tests.
