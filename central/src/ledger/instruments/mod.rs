//! Versions of instruments in the table `instruments`: what edges report of listings, changed terms and delistings becomes one history of each
//! instrument, whichever edge reports it first, how often and in which order.

mod store;
mod versions;

pub use store::{InstrumentReports, mend_histories, store_reports};
