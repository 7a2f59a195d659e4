//! Who is answered: the password, and requests that a web page of another origin made a browser send.

mod credentials;
mod origin;
mod password;

pub use credentials::{Credentials, USER};
pub use origin::foreign_page;
pub use password::Password;
