//! Tables of facts and what is found of them.
