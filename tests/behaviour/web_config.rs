//! `--web.config.file`: validation, and its effect on clients of the server.

mod clients;
mod discovery;
mod flags;
mod floods;
mod limits;
mod passwords;
mod prometheus;
mod reload;
mod served;
mod table;
mod tls;
