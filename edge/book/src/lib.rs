//! marketprism-book.
