// Anchor of the tests' precompiled header; it holds no code.
