//! Sites that ask each other, with real links between them.
