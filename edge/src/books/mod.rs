//! The order books of a feed.

mod order_books;
mod plan;

pub use order_books::{BookReport, OrderBooks};
pub use plan::{BookPlan, BooksPlan};
