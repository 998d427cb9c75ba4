//! Who is asking: the long-term credential mechanism (RFC 8489 §9.2).

pub mod rest;
